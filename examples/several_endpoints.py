"""Two endpoints on one server: the guide's second script, with filters instead of conditions.

    hfhooks serve examples/several_endpoints.py

What a filter does not want is answered 200 and ignored, so the Hub has no reason to complain.
"""

from hfhooks import WebhookPayload, webhook_endpoint


@webhook_endpoint(on="repo.content:update", repo="dataset:*")
async def trigger_training(payload: WebhookPayload) -> dict[str, str]:
    return {"training_on": payload.repo.name}


@webhook_endpoint(on="repo.content:update", repo="model:*", ref="refs/heads/main")
async def trigger_evaluation(payload: WebhookPayload) -> dict[str, str | None]:
    return {"evaluating": payload.repo.name, "at": payload.repo.head_sha}
