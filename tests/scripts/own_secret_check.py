"""Checks a header itself."""

from fastapi import Header, HTTPException
from huggingface_hub import webhook_endpoint


@webhook_endpoint("/own_check")
async def own_check(payload: dict, x_other_secret: str = Header(default=None)):
    if x_other_secret != "other":
        raise HTTPException(status_code=403, detail="Invalid secret")
    return payload["repo"]["name"]
