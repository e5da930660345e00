"""Answer who mentions the bot in a discussion, in the words of a language model.

    HF_TOKEN=hf_... hfhooks serve examples/discussion_bot.py

BOT_MODEL names the model: one on the Hub, or the URL of a server that speaks the same API as
OpenAI's. Needs: pip install huggingface_hub
"""

import os
from functools import cache

from huggingface_hub import HfApi, InferenceClient

from hfhooks import WebhookPayload, webhook_endpoint

BOT_MODEL = os.environ.get("BOT_MODEL", "meta-llama/Llama-3.3-70B-Instruct")
MENTION = os.environ.get("BOT_MENTION", "@discussion-bot")

api = HfApi()


@cache
def own_id() -> str:
    return str(api.whoami()["id"])


@webhook_endpoint(on=["discussion:create", "discussion.comment:create"])
def answer_mention(payload: WebhookPayload) -> dict[str, object]:
    discussion, comment = payload.discussion, payload.comment
    if not (discussion and discussion.num and comment and comment.author):
        return {"processed": False}
    question = comment.content or ""
    # Without the second question two bots, or this one alone, would talk for ever.
    if MENTION not in question or comment.author.id == own_id():
        return {"processed": False}
    answer = InferenceClient(model=BOT_MODEL).chat_completion(
        [
            {"role": "system", "content": f"You answer about {payload.repo.name}, briefly."},
            {"role": "user", "content": question.replace(MENTION, "").strip()},
        ]
    )
    words = answer.choices[0].message.content or "I do not know."
    api.comment_discussion(
        payload.repo.name, discussion.num, comment=words, repo_type=payload.repo.type
    )
    return {"processed": True, "answer": words}
