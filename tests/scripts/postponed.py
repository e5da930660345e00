from __future__ import annotations

from fastapi import BackgroundTasks, Request
from huggingface_hub import WebhookPayload, webhook_endpoint


@webhook_endpoint
async def postponed(
    payload: WebhookPayload, request: Request, background_tasks: BackgroundTasks
) -> dict[str, str]:
    return {"method": request.method, "repo": payload.repo.name}
