"""Tells of comments, but of hidden ones."""

from huggingface_hub import WebhookPayload, webhook_endpoint


@webhook_endpoint
async def notifier(payload: WebhookPayload):
    if payload.event.scope != "discussion.comment" or payload.comment.hidden:
        return {"processed": False}
    return {"processed": True, "said": payload.comment.content, "where": payload.discussion.url.web}
