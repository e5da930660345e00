"""One function, two endpoints."""

from huggingface_hub import WebhookPayload, webhook_endpoint


@webhook_endpoint("/first")
@webhook_endpoint("/second")
async def stacked(payload: WebhookPayload):
    return payload.repo.type
