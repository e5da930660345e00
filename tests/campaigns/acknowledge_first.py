"""hfhooks with the fault that the crash campaign must find: it answers before it commits.

Every delivery is answered at once, and only a moment later given to the real gateway.
"""

import asyncio
from typing import Any

from hfhooks.__main__ import main
from hfhooks.gateway.app import Gateway

HELD_BACK = 0.1
"""Seconds, so that every kill of the gateway finds something to lose."""
ANSWER = b'{"id": 0, "status": "queued"}'

serve_honestly = Gateway.__call__


async def acknowledge_first(self: Gateway, scope: Any, receive: Any, send: Any) -> None:
    if scope["method"] != "POST":
        return await serve_honestly(self, scope, receive, send)
    received = [await receive()]
    while received[-1].get("more_body"):
        received.append(await receive())
    headers = [(b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})
    await asyncio.sleep(HELD_BACK)
    messages = iter(received)

    async def receive_again() -> Any:
        return next(messages)

    async def send_to_nobody(message: Any) -> None:
        pass

    return await serve_honestly(self, scope, receive_again, send_to_nobody)


if __name__ == "__main__":
    Gateway.__call__ = acknowledge_first  # type: ignore[method-assign] # the fault
    main()
