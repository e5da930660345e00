"""hfhooks with the fault that the crash campaign must find: it answers before it commits.

Every delivery is answered at once, and only a moment later given to the real gateway.
"""

import asyncio
from functools import partial
from typing import Any

from hfhooks.__main__ import main
from hfhooks.gateway.app import Gateway
from hfhooks.http.limits import Room
from hfhooks.http.messages import Answer, Request
from hfhooks.model.refusal import Refusal

HELD_BACK = 0.02
"""Seconds, so that every kill of the gateway finds something to lose."""
ANSWER = Answer(202, b'{"id": 0, "status": "queued"}')

respond_honestly = Gateway.respond


class Nobody:
    """Takes requests whose senders have their answers already."""

    def answered(self, request: Request, answer: Answer) -> None: ...

    def report(self, fault: Exception) -> None: ...


def acknowledge_first(self: Gateway, request: Request) -> None:
    if request.method == "POST":
        request.read(partial(answer, self, request))
    else:
        respond_honestly(self, request)


def answer(gateway: Gateway, request: Request) -> None:
    try:
        copy = copied(request, request.body)
    except Refusal:
        respond_honestly(gateway, request)
        return
    request.answer(ANSWER)
    asyncio.get_running_loop().call_later(HELD_BACK, respond_honestly, gateway, copy)


def copied(request: Request, body: bytes) -> Request:
    """Return a request that keeps its body when the other one is answered."""
    copy = Request(request.method, request.target, request.headers)
    copy.accept(Room(), Nobody())
    copy.take(body)
    copy.complete()
    return copy


if __name__ == "__main__":
    patched: Any = Gateway
    patched.respond = acknowledge_first  # the fault
    main()
