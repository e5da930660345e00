"""Run a Job on the Hub when a dataset changes.

    HF_TOKEN=hf_... hfhooks serve {file}
    hfhooks trigger repo.content:update --repo dataset:me/data

Without a token the command is only printed. Jobs need prepaid credits.
"""

import os

from hfhooks import Delivery, WebhookPayload, webhook_endpoint

IMAGE = "python:3.12"


@webhook_endpoint(on="repo.content:update", repo="dataset:*", ref="refs/heads/main")
def run_job(payload: WebhookPayload, delivery: Delivery):
    command = ["python", "-c", f"print('Working on {payload.repo.name}')"]
    print("Running", " ".join(command), "for delivery", delivery.id)
    if "HF_TOKEN" not in os.environ:
        return {"started": False}
    from huggingface_hub import run_job  # pip install huggingface_hub

    job = run_job(image=IMAGE, command=command)
    return {"started": True, "job": job.id}
