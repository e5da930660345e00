"""Gives the prefix that is added anyway."""

from huggingface_hub import WebhookPayload, WebhooksServer

app = WebhooksServer()


@app.add_webhook("/webhooks/doubled")
async def doubled(payload: WebhookPayload):
    return payload.event.action
