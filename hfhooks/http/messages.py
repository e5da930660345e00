"""What comes in and what goes out: a request, whose body may still be arriving, and its answer."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

from hfhooks.http.limits import Room
from hfhooks.model.refusal import Refusal

__all__ = ["JSON", "Answer", "Headers", "Request", "encoded_headers", "json_answer", "refused"]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
JSON = (b"content-type", b"application/json")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = (JSON,)


class Request:
    """One request: its head is there, its body may be arriving."""

    def __init__(
        self, method: str, target: bytes, headers: list[tuple[str, str]], room: Room
    ) -> None:
        path, _, query = target.partition(b"?")
        self.method = method
        self.path = unquote(path.decode("latin-1"))
        self.query = query.decode("latin-1")
        self.headers = headers
        """Names in lower case."""
        self.fields = dict(headers)
        self.bad_head: Refusal | None = None
        """Why nothing else of it is looked at."""
        self.stays = False
        """Its sender may send another one on the same connection."""
        self.is_whole = False
        self.on_wanted: Callable[[], None] | None = None
        """Called when the body is wanted and has not come."""
        self._room = room
        self._refusal: Refusal | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._arrived: asyncio.Future[None] | None = None

    @property
    def has_body(self) -> bool:
        return "transfer-encoding" in self.fields or self.fields.get("content-length", "0") != "0"

    async def body(self) -> bytes:
        """Return the body. Raises `Refusal` when it is too big or too slow, or breaks off."""
        if not (self.is_whole or self._refusal):
            self._arrived = asyncio.get_running_loop().create_future()
            if self.on_wanted:
                self.on_wanted()
            await self._arrived
        if self._refusal:
            raise self._refusal
        return b"".join(self._chunks)

    def expect(self, length: str) -> None:
        """Note what the head says about the length of the body."""
        if int(length) > self._room.max_body:
            self.refuse(Refusal(413, "too_big"))

    def take(self, chunk: bytes) -> None:
        """Add a part of the body."""
        if self._refusal:
            return
        try:
            self._room.take(self._size + len(chunk), len(chunk))
        except Refusal as refusal:
            self.refuse(refusal)
        else:
            self._size += len(chunk)
            self._chunks.append(chunk)

    def complete(self) -> None:
        """Note that all of it is there."""
        self.is_whole = True
        self._wake()

    def refuse(self, refusal: Refusal) -> None:
        """Note why the body is not accepted; the first reason counts."""
        self._refusal = self._refusal or refusal
        self.forget()
        self._wake()

    def forget(self) -> None:
        """Hold the body no longer."""
        self._room.held -= self._size
        self._size = 0
        self._chunks.clear()

    def _wake(self) -> None:
        if self._arrived and not self._arrived.done():
            self._arrived.set_result(None)


def refused(refusal: Refusal) -> Answer:
    """Return what its sender is told of a request that is not accepted."""
    body = b'{"error": "%b"}' % refusal.word.encode()
    return Answer(refusal.status, body, (JSON, *encoded_headers(refusal.headers)))


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return JSON of our own."""
    return Answer(status, json.dumps(content).encode())


def encoded_headers(headers: Mapping[str, str]) -> Headers:
    """Return headers as an answer has them."""
    return tuple((name.encode(), value.encode()) for name, value in headers.items())
