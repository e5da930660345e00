"""Answers, taken whole: one that breaks off half-way is none. No FastAPI here."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hfhooks.model.ending import ANSWERED, Ending
from hfhooks.model.headers import BODILESS, HOP_HEADERS
from hfhooks.worker.endings import OUTCOME, RETRY_AFTER

if TYPE_CHECKING:
    from starlette.types import Message, Send

__all__ = ["Collected", "WholeAnswer", "ending_of_json", "nothing_more"]

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of a handler's answer."""
JSON = (b"content-type", b"application/json")
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""Writes JSON as FastAPI does."""
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What the name of a header is, and what its value must not have: RFC 9110, 5."""


def ending_of_json(content: Any) -> Ending:
    """Return the answer that FastAPI makes of this. Raises `ValueError` for what is no JSON."""
    body = ENCODER.encode(content).encode()
    if len(body) > MAX_ANSWER:
        raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
    return Ending(ANSWERED, 200, (JSON,), body)


class WholeAnswer:
    """Collects what a handler sends: one that breaks off half-way is no answer."""

    def __init__(self, send: "Send") -> None:
        self.is_sent = False
        self._send = send
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            if not 200 <= message["status"] <= 599:
                raise ValueError(f"the status of an answer is 200 to 599, not {message['status']}")
            for name, value in message["headers"]:
                if not NAME.fullmatch(name) or CONTROL.search(value):
                    raise ValueError(f"the header {name!r} of an answer is none that can be sent")
            self._start = message
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > MAX_ANSWER:
                raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
            if not message.get("more_body", False):
                await self._finish()

    async def _finish(self) -> None:
        self.is_sent = True
        # A handler may have copied them from elsewhere, and they say how ours is sent.
        headers = [
            (name, value)
            for name, value in self._start["headers"]
            if name.decode("latin-1").lower() not in HOP_HEADERS
        ]
        if self._start["status"] not in BODILESS:
            headers.append((b"content-length", str(len(self._body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": bytes(self._body)})


class Collected:
    """What an application sends, as the ending that it is."""

    def __init__(self, ended: Callable[[Ending], None]) -> None:
        self.send = WholeAnswer(self._take)
        """Takes what is sent in parts, and passes it on when it is complete."""
        self._ended = ended
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []

    async def _take(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(name.lower(), value) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            own = {name: value.decode("latin-1") for name, value in self._headers}
            kind = own.get(OUTCOME.encode(), ANSWERED)
            after = own.get(RETRY_AFTER.encode())
            is_theirs = kind == ANSWERED
            headers = tuple(header for header in self._headers if header[0] != b"content-length")
            retry_after = None if after is None else float(after)
            body = message.get("body", b"")
            self._ended(Ending(kind, self._status, headers if is_theirs else (), body, retry_after))


async def nothing_more() -> "Message":
    """Wait: the sender is there as long as the application is."""
    nothing: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await nothing
