"""Refresh a leaderboard when its results change; the work is slow and blocks."""

import time

from huggingface_hub import WebhookPayload, WebhooksServer

RESULTS = "me/results"
app = WebhooksServer()


@app.add_webhook("/update_leaderboard")
def update_leaderboard(payload: WebhookPayload):
    if payload.repo.type != "dataset" or payload.event.scope != "repo.content":
        return {"processed": False, "reason": "not the results"}
    time.sleep(0.1)
    return {"processed": True, "repo": payload.repo.name}


app.launch(server_name="0.0.0.0", show_error=True)
