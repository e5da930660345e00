"""An application under an ASGI server, which is the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
HEADERS = [(b"host", b"hooks.test"), (b"content-type", b"application/json")]


@asynccontextmanager
async def living(app: Any) -> AsyncIterator[None]:
    """Let an application start, and stop after the block."""
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan"}, told.get, said.put))
    assert await said.get() == {"type": "lifespan.startup.complete"}
    yield
    told.put_nowait({"type": "lifespan.shutdown"})
    await life


async def whole() -> dict[str, Any]:
    """Return a body, all of it."""
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def answered(app: Any, path: str, receive: Receive = whole) -> int:
    """Send something; return the status of the answer."""
    said: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": HEADERS,
    }

    async def say(message: dict[str, Any]) -> None:
        said.append(message)

    await app(scope, receive, say)
    status: int = said[0]["status"]
    return status
