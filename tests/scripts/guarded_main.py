from huggingface_hub import WebhookPayload, WebhooksServer

app = WebhooksServer(ui=None)


@app.add_webhook
async def guarded_main(payload: WebhookPayload):
    return payload.webhook.version


if __name__ == "__main__":
    app.launch(share=False)
    raise SystemExit(1)
