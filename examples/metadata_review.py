"""Review the metadata of a card when its repository changes, and report in its community tab.

    HF_TOKEN=hf_... hfhooks serve examples/metadata_review.py

The report has a discussion of its own, which later reviews comment on instead of opening more.
Needs: pip install huggingface_hub
"""

from typing import Any

from huggingface_hub import HfApi

from hfhooks import WebhookPayload, webhook_endpoint

TITLE = "Metadata review"
WANTED = {
    "model": ["license", "language", "library_name", "pipeline_tag", "datasets"],
    "dataset": ["license", "language", "task_categories", "size_categories"],
}

api = HfApi()


@webhook_endpoint(on="repo.content:update", repo=["model:*", "dataset:*"], ref="refs/heads/main")
def review(payload: WebhookPayload) -> dict[str, Any]:
    name, kind = payload.repo.name, payload.repo.type or "model"
    info = api.dataset_info(name) if kind == "dataset" else api.model_info(name)
    missing = [key for key in WANTED[kind] if not (info.card_data and info.card_data.get(key))]
    report = describe(missing)
    earlier = [d for d in api.get_repo_discussions(name, repo_type=kind) if d.title == TITLE]
    if earlier:
        number = earlier[0].num
        api.comment_discussion(name, number, comment=report, repo_type=kind)
    elif missing:
        number = api.create_discussion(name, TITLE, description=report, repo_type=kind).num
    else:
        return {"missing": [], "discussion": None}
    return {"missing": missing, "discussion": number}


def describe(missing: list[str]) -> str:
    if not missing:
        return "Nothing is missing any more. Thank you!"
    lines = [f"- `{key}`" for key in missing]
    return "\n".join(["The card's metadata does not say:", "", *lines])
