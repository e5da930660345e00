"""Train again whenever a dataset changes, and tell the model's community about it.

    TRAIN_COMMAND="python train.py" MODEL=me/model DATASET=me/data HF_TOKEN=hf_... \
        hfhooks serve examples/auto_retrain.py

The training may take hours: after five seconds the Hub gets its 202, and the handler runs on. Only
pushes to main count, so that neither pull requests nor the Hub's own refs/convert/parquet start it.
Needs: pip install huggingface_hub
"""

import os
import shlex
import subprocess

from huggingface_hub import HfApi

from hfhooks import WebhookPayload, webhook_endpoint

TRAIN_COMMAND = shlex.split(os.environ["TRAIN_COMMAND"])
MODEL = os.environ["MODEL"]
DATASET = os.environ["DATASET"]


@webhook_endpoint(on="repo.content:update", repo=f"dataset:{DATASET}", ref="refs/heads/main")
def retrain(payload: WebhookPayload) -> dict[str, object]:
    revision = payload.repo.head_sha or "main"
    settings = {"DATASET": DATASET, "DATASET_REVISION": revision, "MODEL": MODEL}
    training = subprocess.run(
        TRAIN_COMMAND, env=os.environ | settings, capture_output=True, text=True, check=True
    )
    discussion = HfApi().create_discussion(
        MODEL,
        title=f"Trained on {DATASET} at {revision[:7]}",
        description=f"The dataset changed, so the model was trained again.\n\n{training.stdout}",
    )
    return {"trained_at": revision, "discussion": discussion.num}
