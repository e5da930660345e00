"""Takes the payload as it came."""

from typing import Any

from huggingface_hub import webhook_endpoint


@webhook_endpoint
async def dict_payload(data: dict[str, Any]):
    return {"sha": data["repo"].get("headSha")}
