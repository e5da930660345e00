"""Requests that are for the script's own pages and routes, passed on to the worker as they come.

Nothing of them is recorded or held: files of any size and streams without an end go through.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import httptools

from hfhooks.http.limits import MOST_HEAD, Room
from hfhooks.http.messages import Request, Taker
from hfhooks.model.headers import is_carried
from hfhooks.model.refusal import Refusal

__all__ = ["Passed", "Reach", "Site", "SiteGone"]

SWITCHED = 101
"""The status by which HTTP ends and another protocol begins, such as WebSocket."""


class SiteGone(Exception):
    """The worker cannot be asked, or has ended before it answered."""


Reach: TypeAlias = Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]]
"""Opens a connection to the worker that speaks this protocol. Raises `SiteGone`."""


@dataclass(frozen=True)
class Site:
    """What the worker serves beside the endpoints, and whether it answers at `/`."""

    reach: Reach | None
    """None where nothing needs to be passed on: the worker is this process."""
    has_page: bool


class Passed(Request):
    """A request that is passed on. Its body is held only until there is a way to the worker."""

    def __init__(self, request: Request, site: Site, *, switches: bool) -> None:
        super().__init__(request.method, request.target, request.headers, request.version)
        self.stays = request.stays and not switches
        self.switches = switches
        """Its sender wants to go on with another protocol."""
        self._site = site
        self._early: list[bytes] = []
        self._passage: _Passage | None = None
        self._is_given_up = False

    async def pass_on(self, sender: asyncio.Transport) -> bool:
        """Send the worker's answer, all of it; tell whether another request may follow.

        Raises `SiteGone` when the worker cannot answer, and nothing was sent.
        """
        assert self._site.reach
        connection = _Passage(self, sender)
        await self._site.reach(lambda: connection)
        connection.write(_head(self))
        self._passage = connection
        # What follows a wish for another protocol is a request of its own to who does not know it.
        for chunk in () if self.switches else self._early:
            connection.send(chunk)
        if self.is_whole:
            connection.complete()
        elif self.on_wanted:
            self.on_wanted()
        if self._is_given_up:
            connection.abort()
        try:
            return await connection.answered
        finally:
            connection.abort()

    def accept(self, room: Room, taker: Taker) -> None:
        """Accept any length."""
        self._taker = taker

    def take(self, chunk: bytes) -> None:
        """Pass on a part of the body."""
        if self._passage and (self._passage.has_switched or not self.switches):
            self._passage.send(chunk)
        elif self.switches and sum(map(len, self._early)) > MOST_HEAD:
            self.refuse(Refusal(400, "bad_request"))  # nobody sends so much before the answer
        else:
            self._early.append(chunk)

    def switched(self) -> None:
        """Pass on what came before the worker has agreed to another protocol."""
        while self._early and self._passage:
            self._passage.send(self._early.pop(0))

    def end(self) -> None:
        """Note that the sender sends nothing more: it is gone, unless it may still listen."""
        if self._passage and self._passage.has_switched:
            self._passage.write_eof()
        else:
            self.refuse(Refusal(400, "incomplete"))

    def complete(self) -> None:
        """Pass on the end of the body."""
        self.is_whole = True
        if self._passage:
            self._passage.complete()

    def refuse(self, refusal: Refusal) -> None:
        """Give it up."""
        self._is_given_up = True
        if self._passage:
            self._passage.abort()

    def forget(self) -> None:
        """Hold nothing."""

    def hold(self, is_choked: bool) -> None:
        """Stop reading from the worker while the sender does not take what it is sent."""
        if self._passage:
            self._passage.hold(is_choked)


class _Passage(asyncio.Protocol):
    """The connection to the worker; the `on_…` methods are httptools' callbacks."""

    def __init__(self, request: Passed, sender: asyncio.Transport) -> None:
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Whether another request may follow on the sender's connection."""
        self._request = request
        self._sender = sender
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._has_begun = False
        """Something of the answer was sent."""
        self.has_switched = False
        """HTTP has ended and another protocol has begun."""
        self._is_chunked = "transfer-encoding" in request.fields

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def send(self, chunk: bytes) -> None:
        """Send a part of the body, or of what follows when the protocol was switched."""
        if self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        self._transport.write(chunk)

    def complete(self) -> None:
        """Send the end of the body."""
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")

    def hold(self, is_choked: bool) -> None:
        if is_choked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def write_eof(self) -> None:
        self._transport.write_eof()

    def abort(self) -> None:
        self._finish(False)
        self._transport.abort()

    def pause_writing(self) -> None:
        self._sender.pause_reading()

    def resume_writing(self) -> None:
        if not self._sender.is_closing():
            self._sender.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._sender.write(data)
        self._has_begun = True
        if self.has_switched:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.has_switched = self._parser.get_status_code() == SWITCHED
            self._request.switched()
        except httptools.HttpParserError:
            self._finish(False)

    def connection_lost(self, exc: Exception | None) -> None:
        if not (self._has_begun or self.answered.done()):
            self.answered.set_exception(SiteGone("it ended before it answered"))
        self._finish(False)

    def on_headers_complete(self) -> None:
        if self._request.method == "HEAD":  # of whose answer the parser cannot know that
            self._finish(self._parser.should_keep_alive())

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() > SWITCHED:
            self._finish(self._parser.should_keep_alive())

    def _finish(self, stays: bool) -> None:
        if not self.answered.done():
            self.answered.set_result(stays)


def _head(request: Passed) -> bytes:
    line = (request.method.encode("latin-1"), request.target, request.version.encode())
    lines = [b"%b %b HTTP/%b" % line]
    for name, value in _passed_headers(request):
        lines.append(f"{name}: {value}".encode("latin-1"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _passed_headers(request: Passed) -> Iterator[tuple[str, str]]:
    for name, value in request.headers:
        is_framing = name in ("content-length", "transfer-encoding")
        is_switch = request.switches and name in ("connection", "upgrade")
        if is_framing or is_switch or is_carried(name):
            yield name, value
