"""A handler that takes the request itself: every FastAPI parameter works.

    hfhooks serve examples/whole_request.py

It gets any media type and any body; checking them is its own business.
"""

from fastapi import HTTPException, Request

from hfhooks import webhook_endpoint


@webhook_endpoint("/requests")
async def show_request(request: Request) -> dict[str, object]:
    body = await request.body()
    if not body:
        raise HTTPException(400, "an empty body")
    return {
        "bytes": len(body),
        "media_type": request.headers.get("content-type"),
        "delivered_as": request.headers.get("webhook-id"),
        "query": dict(request.query_params),
    }
