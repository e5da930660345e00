"""Declared by a call, for a function from elsewhere."""

from json import loads

from huggingface_hub import WebhooksServer

app = WebhooksServer()


def count(payload: dict) -> int:
    return len(loads("[1, 2]")) + len(payload["event"])


app.add_webhook("/counted")(count)
app.add_webhook()(count)
