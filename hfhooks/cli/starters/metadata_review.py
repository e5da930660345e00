"""Look at a card's metadata when its repository changes, and say what is missing.

    HF_TOKEN=hf_... hfhooks serve {file}
    hfhooks trigger repo.content:update --repo model:me/model

Without a token the metadata are not read.
"""

import os

from hfhooks import WebhookPayload, webhook_endpoint

WANTED = ("license", "language", "tags")


@webhook_endpoint(on="repo.content:update", repo=["model:*", "dataset:*"], ref="refs/heads/main")
def review(payload: WebhookPayload):
    if "HF_TOKEN" not in os.environ:
        print("Set HF_TOKEN to read the card of", payload.repo.name)
        return {"reviewed": False}
    from huggingface_hub import DatasetCard, ModelCard  # pip install huggingface_hub

    kind = DatasetCard if payload.repo.type == "dataset" else ModelCard
    data = kind.load(payload.repo.name).data.to_dict()
    missing = [name for name in WANTED if not data.get(name)]
    print(payload.repo.name, "lacks", ", ".join(missing) or "nothing")
    return {"reviewed": True, "missing": missing}
