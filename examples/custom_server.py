"""A server object with a secret of its own: the guide's third script.

    hfhooks serve examples/custom_server.py

Senders must give the secret, as the header X-Webhook-Secret or as ?secret= in the URL.
"""

from hfhooks import WebhookPayload, WebhooksServer

# For more than trying things out, leave it out here and set WEBHOOK_SECRET in the environment.
app = WebhooksServer(webhook_secret="my_secret_key")


@app.add_webhook("/say_hello")
async def hello(payload: WebhookPayload) -> dict[str, str]:
    return {"message": f"hello {payload.repo.name}"}


@app.add_webhook
async def goodbye(payload: WebhookPayload) -> dict[str, str]:
    return {"message": f"goodbye {payload.repo.name}"}


app.run()
