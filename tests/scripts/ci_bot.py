"""Answer at once, work after."""

from fastapi import BackgroundTasks
from huggingface_hub import WebhookPayload, webhook_endpoint

done = []


@webhook_endpoint
async def ci_bot(payload: WebhookPayload, task_queue: BackgroundTasks):
    if not payload.discussion or not payload.discussion.isPullRequest:
        return {"processed": False}
    task_queue.add_task(done.append, payload.discussion.num)
    return {"processed": True}


@webhook_endpoint
def ci_bot_done():
    return done
