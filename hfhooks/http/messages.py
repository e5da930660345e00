"""What comes in and what goes out: a request, whose body may still be arriving, and its answer."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

from hfhooks.errors import Fault
from hfhooks.http.limits import Room
from hfhooks.model.headers import BODILESS
from hfhooks.model.refusal import Refusal

__all__ = [
    "FAULT",
    "JSON",
    "Answer",
    "Headers",
    "Request",
    "Taker",
    "encoded",
    "encoded_headers",
    "json_answer",
    "refused",
]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
JSON = (b"content-type", b"application/json")


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = (JSON,)


FAULT = Answer(500, b'{"error": "internal"}')


class Taker(Protocol):
    """Who has taken a request from its sender."""

    def answered(self, request: "Request", answer: Answer) -> None:
        """Send an answer, the only one."""

    def report(self, fault: Fault) -> None:
        """Tell of a fault of ours."""


class Request:
    """One request: its head is there, its body may be arriving.

    Whoever it is given to reads its body if that is wanted, and answers it, once.
    """

    __slots__ = (
        "_body",
        "_refusal",
        "_room",
        "_size",
        "_taker",
        "_then",
        "bad_head",
        "fields",
        "headers",
        "is_answered",
        "is_whole",
        "method",
        "on_wanted",
        "path",
        "query",
        "stays",
        "target",
        "upgrades",
        "version",
    )

    def __init__(
        self, method: str, target: bytes, headers: list[tuple[str, str]], version: str = "1.1"
    ) -> None:
        path, _, query = target.decode("latin-1").partition("?")
        self.method = method
        self.target = target
        """As it came: path and query."""
        self.path = unquote(path)
        self.query = query
        self.headers = headers
        """Names in lower case."""
        self.fields = dict(headers)
        self.version = version
        """Of HTTP."""
        self.upgrades = False
        """Its sender wants to go on with another protocol."""
        self.bad_head: Refusal | None = None
        """Why nothing else of it is looked at."""
        self.stays = False
        """Its sender may send another one on the same connection."""
        self.is_whole = False
        self.on_wanted: Callable[[], None] | None = None
        """Called when the body is wanted and has not come."""
        self.is_answered = False
        self._taker: Taker | None = None
        self._then: Callable[[], None] | None = None
        self._room: Room | None = None
        self._refusal: Refusal | None = None
        self._body: bytes | bytearray = b""
        self._size = 0

    @property
    def has_body(self) -> bool:
        return "transfer-encoding" in self.fields or self.fields.get("content-length", "0") != "0"

    @property
    def body(self) -> bytes:
        """All of it. Raises `Refusal` when it was too big or too slow, or broke off."""
        if self._refusal:
            raise self._refusal
        self._body = bytes(self._body)
        return self._body

    @property
    def most_parts(self) -> int:
        """Parts that its body may have if that is JSON."""
        return self._room.most_parts if self._room else 0

    @property
    def is_held(self) -> bool:
        """Some of its body takes room."""
        return self._size > 0

    def accept(self, room: Room, taker: "Taker") -> None:
        """Hold its body in this room, and have its answer sent by who has taken it."""
        self._room, self._taker = room, taker
        length = self.fields.get("content-length", "")
        if length.isdecimal() and int(length) > room.max_body:
            self.refuse(Refusal(413, "too_big"))

    def read(self, then: Callable[[], None]) -> None:
        """Have this called when the body is there, or refused; that may be before this returns."""
        self._then = then
        if self.on_wanted and not (self.is_whole or self._refusal):
            self.on_wanted()
        self.proceed()

    def proceed(self) -> None:
        """Call who waits for the body, if it need not wait any more."""
        if self._then and (self.is_whole or self._refusal):
            then, self._then = self._then, None
            then()

    def answer(self, answer: Answer) -> None:
        """Send this to who has sent the request, unless there was an answer before."""
        if self._taker and not self.is_answered:
            self.is_answered = True
            self._taker.answered(self, answer)

    def fail(self, error: Exception) -> None:
        """Report a fault of ours, of which its sender hears no more than that."""
        if self._taker:
            fault = error if isinstance(error, Fault) else Fault("answering a request", error)
            self._taker.report(fault)
        self.answer(FAULT)

    def take(self, chunk: bytes) -> None:
        """Add a part of the body."""
        if self._refusal or not self._room:
            return
        try:
            self._room.take(self._size + len(chunk), len(chunk))
        except Refusal as refusal:
            self.refuse(refusal)
            return
        self._size += len(chunk)
        if self._refusal:  # it was itself what others were given the room of
            self.forget()
            return
        if not self._body:
            self._body = chunk
        elif isinstance(self._body, bytearray):
            self._body += chunk
        else:  # each part for itself would take more room: one of two bytes twenty times as much
            self._body = bytearray(self._body + chunk)

    def complete(self) -> None:
        """Note that all of it is there."""
        self.is_whole = True

    def refuse(self, refusal: Refusal) -> None:
        """Note why the body is not accepted; the first reason counts."""
        self._refusal = self._refusal or refusal
        self.forget()

    def forget(self) -> None:
        """Hold the body no longer."""
        if self._size and self._room:
            self._room.held -= self._size
            self._size = 0
            self._body = b""


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


def encoded(answer: Answer, stays: bool, has_body: bool) -> bytes:
    """Return an answer as it is sent; after it the connection `stays` open, or not."""
    parts = [_status_line(answer.status), _date_line(int(time.time()))]
    parts += [b"%b: %b\r\n" % header for header in answer.headers]
    if answer.status not in BODILESS:
        parts.append(b"content-length: %d\r\n" % len(answer.body))
    parts.append(b"\r\n" if stays else b"connection: close\r\n\r\n")
    if has_body and answer.status not in BODILESS:
        parts.append(answer.body)
    return b"".join(parts)


@cache
def _status_line(status: int) -> bytes:
    with suppress(ValueError):
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return f"HTTP/1.1 {status} \r\n".encode()


@lru_cache(maxsize=1)
def _date_line(now: int) -> bytes:
    # Whatever the locale: https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.7
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(now)
    date = f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year}"
    return f"date: {date} {hour:02}:{minute:02}:{second:02} GMT\r\n".encode()
