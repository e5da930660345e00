"""Answer who mentions the bot in a discussion or a pull request.

    HF_TOKEN=hf_... hfhooks serve {file}
    hfhooks trigger discussion.comment:create --comment "@my-bot hello"

Without a token the answer is only printed.
"""

import os

from hfhooks import WebhookPayload, webhook_endpoint

MENTION = "@my-bot"
SIGNATURE = "\n\n_I am a bot._"


@webhook_endpoint(on=["discussion:create", "discussion.comment:create"])
def answer(payload: WebhookPayload):
    question = (payload.comment and payload.comment.content) or ""
    if MENTION not in question or question.endswith(SIGNATURE):  # or it would answer itself
        return {"processed": False}
    words = f"Thank you for writing about {payload.repo.name}." + SIGNATURE
    print("Answering", payload.discussion.url.web, "with:", words)
    if "HF_TOKEN" in os.environ:
        from huggingface_hub import HfApi  # pip install huggingface_hub

        HfApi().comment_discussion(
            payload.repo.name, payload.discussion.num, words, repo_type=payload.repo.type
        )
    return {"processed": True}
