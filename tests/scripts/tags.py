"""Looks at what refs have changed."""

from huggingface_hub import WebhookPayload, webhook_endpoint


@webhook_endpoint
def tags(payload: WebhookPayload):
    refs = [ref.ref for ref in payload.updatedRefs or [] if ref.newSha]
    return [ref for ref in refs if ref.startswith("refs/tags/")]
