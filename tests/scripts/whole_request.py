"""Reads the request itself."""

from fastapi import Request
from huggingface_hub import webhook_endpoint


@webhook_endpoint
async def whole_request(req: Request):
    body = await req.json()
    return {"type": req.headers["content-type"], "scope": body["event"]["scope"]}
