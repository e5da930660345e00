"""React when a dataset changes: the first script of the Hub's webhooks guide.

hfhooks serve examples/trigger_training.py
hfhooks replay tests/payloads/dataset_content_update_main_v3_built.json
"""

from hfhooks import WebhookPayload, webhook_endpoint


@webhook_endpoint
async def trigger_training(payload: WebhookPayload) -> dict[str, bool]:
    is_wanted = payload.repo.type == "dataset" and payload.event.action == "update"
    if is_wanted:
        print(f"Training on {payload.repo.name} at {payload.repo.head_sha}")
    return {"processed": is_wanted}
