"""hfhooks with the fault that the crash campaign must find: it answers before it commits.

Every delivery is answered at once, and only a moment later given to the real gateway.
"""

import asyncio

from hfhooks.__main__ import main
from hfhooks.gateway.app import Gateway
from hfhooks.http.limits import Room
from hfhooks.http.messages import Answer, Request
from hfhooks.model.refusal import Refusal

HELD_BACK = 0.02
"""Seconds, so that every kill of the gateway finds something to lose."""
ANSWER = Answer(202, b'{"id": 0, "status": "queued"}')

respond_honestly = Gateway.respond
late: set["asyncio.Task[Answer]"] = set()


async def acknowledge_first(self: Gateway, request: Request) -> Answer:
    if request.method != "POST":
        return await respond_honestly(self, request)
    try:
        body = await request.body()
    except Refusal:
        return await respond_honestly(self, request)
    task = asyncio.create_task(respond_later(self, copied(request, body)))
    late.add(task)
    task.add_done_callback(late.discard)
    return ANSWER


def copied(request: Request, body: bytes) -> Request:
    """Return a request that keeps its body when the other one is answered."""
    copy = Request(request.method, request.path.encode(), request.headers, Room())
    copy.take(body)
    copy.complete()
    return copy


async def respond_later(gateway: Gateway, request: Request) -> Answer:
    await asyncio.sleep(HELD_BACK)
    return await respond_honestly(gateway, request)


if __name__ == "__main__":
    Gateway.respond = acknowledge_first  # type: ignore[method-assign] # the fault
    main()
