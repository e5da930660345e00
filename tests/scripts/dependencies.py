from fastapi import Depends, Query
from huggingface_hub import WebhookPayload, webhook_endpoint


def model(name: str = Query(default="gpt2")) -> str:
    return name


@webhook_endpoint
def dependencies(payload: WebhookPayload, name: str = Depends(model)) -> str:
    return f"{name} on {payload.repo.name}"
