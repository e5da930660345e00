from huggingface_hub import HfApi, WebhookPayload, webhook_endpoint

api = HfApi()


@webhook_endpoint
async def review(payload: WebhookPayload) -> dict:
    if payload.repo.type not in ("model", "dataset") or payload.event.scope != "repo.content":
        return {"status": "skipped"}
    return {"status": "reviewed", "url": f"{api.endpoint}/{payload.repo.name}"}
