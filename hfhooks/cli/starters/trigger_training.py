"""Start a training when a dataset changes.

hfhooks serve {file}
hfhooks trigger repo.content:update --repo dataset:me/data
"""

from hfhooks import WebhookPayload, webhook_endpoint


@webhook_endpoint(on="repo.content:update", repo="dataset:*", ref="refs/heads/main")
def trigger_training(payload: WebhookPayload):
    print("Training on", payload.repo.name, "at", payload.repo.headSha)
    return {"training_on": payload.repo.name}
