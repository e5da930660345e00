"""One connection of a sender: requests in, answers out, in turn and in bounded time."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus
from math import inf
from typing import Any, Protocol

from hfhooks.errors import Fault
from hfhooks.http.limits import HEAR_WITHIN, REST_WITHIN, Room
from hfhooks.http.messages import Answer, Request
from hfhooks.http.parser import Head, Parser
from hfhooks.http.passage import Passed, Site, SiteGone
from hfhooks.model.headers import BODILESS
from hfhooks.model.refusal import Refusal
from hfhooks.tasks import Tasks

__all__ = ["Connection"]

TAKE_WITHIN = 60.0
"""Seconds in which something must come, or go, of what is passed on."""
FAULT = Answer(500, b'{"error": "internal"}')


class Accepting(Protocol):
    """Who has accepted a connection, as far as that needs to know; see `Listener`."""

    respond: Callable[[Request], Awaitable[Answer]]
    site_for: Callable[[Request], Site | None]
    tasks: Tasks
    room: Room
    read_within: float
    passing: int
    most_passing: int

    @property
    def is_stopping(self) -> bool: ...

    def admit(self, connection: "Connection") -> bool: ...

    def forget(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """What the transport tells, and the deadline; answers are given by `Turns`."""

    def __init__(self, listener: Accepting) -> None:
        self.deadline = 0.0
        """When, in the loop's time, it has taken too long to arrive, or to rest."""
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(listener.room, self._on_request)
        self._transport: Any = None
        self._turns: Turns

    @property
    def is_resting(self) -> bool:
        """There is no request."""
        return not (self._turns.current or self._parser.is_in_head or self._parser.is_deaf)

    def leave(self) -> None:
        """Close it, now or when its answer is sent; a stream may have no end."""
        if self.is_resting:
            self._transport.close()
        elif isinstance(self._turns.current, Passed):
            self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()

    def allow(self, seconds: float) -> None:
        """Set the deadline: what is awaited may take so many seconds from now on."""
        self.deadline = self._loop.time() + seconds

    def expire(self) -> None:
        """Give up what has not arrived in time."""
        self.deadline = inf
        if self._parser.is_in_head or (self._parser.arriving and not self._parser.is_deaf):
            self._parser.fail(Refusal(408, "too_slow"))
        elif self._parser.is_deaf or self.is_resting or self._turns.is_choked:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._turns = Turns(self, self._parser, self._transport, self._listener)
        self.allow(self._listener.read_within)
        if not self._listener.admit(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        self._parser.break_off(Refusal(400, "incomplete"))
        self._turns.end()

    def eof_received(self) -> bool:
        if isinstance(self._turns.current, Passed):
            self._turns.current.end()
            return self._turns.switching is not None
        # Who has nothing more to say may still listen to the answer.
        self._parser.break_off(Refusal(400, "incomplete"))
        self._parser.is_deaf = self._turns.has_ended = True
        return self._turns.current is not None

    def pause_writing(self) -> None:
        self._turns.choke(True)

    def resume_writing(self) -> None:
        self._turns.choke(False)

    def data_received(self, data: bytes) -> None:
        if self._turns.switching:
            self._turns.switching.take(data)
            return
        was_resting = self.is_resting
        if (others := self._parser.feed(data)) is not None:
            self._turns.take_other(others)
        if was_resting:
            self.allow(self._listener.read_within)
        arriving = self._parser.arriving
        if isinstance(arriving, Passed):
            self.allow(TAKE_WITHIN)
        elif arriving is None and self._turns.current and not self._turns.is_choked:
            self.deadline = inf

    def _on_request(self, head: Head) -> Request:
        return self._turns.take(head)


class Turns:
    """Answers the requests of a connection, one after the other."""

    def __init__(
        self, connection: Connection, parser: Parser, transport: Any, listener: Accepting
    ) -> None:
        self.current: Request | None = None
        """The one that is being answered."""
        self.switching: Passed | None = None
        """The one whose sender has gone on, or wants to, with another protocol than HTTP."""
        self.is_choked = False
        """What was sent is not taken, so there is no next answer."""
        self.has_ended = False
        """Nothing comes any more."""
        self._connection, self._parser, self._transport = connection, parser, transport
        self._listener = listener
        self._waiting: deque[Request] = deque()
        """Those sent without awaiting the answer to the one before."""

    def take(self, head: Head) -> Request:
        """Answer a request in its turn; until then no more is read. Returns what gets its body."""
        request = head.request
        if not request.bad_head:
            request = self._passed(head)
        if "content-length" in request.fields:
            request.expect(request.fields["content-length"])
        if request.fields.get("expect", "").lower() == "100-continue":
            request.on_wanted = self._continue
        self._waiting.append(request)
        if self.current is None and not self.is_choked:
            self._answer_next()
        else:
            self._transport.pause_reading()
        return request

    def take_other(self, data: bytes) -> None:
        """Take what follows when the sender has gone on with another protocol."""
        if self.switching:
            self.switching.take(data)
        else:
            self._parser.is_deaf = True  # what follows is none of our business

    def choke(self, is_choked: bool) -> None:
        """Note whether the sender takes what is sent."""
        self.is_choked = is_choked
        if isinstance(self.current, Passed):
            self.current.hold(is_choked)
            is_over = not is_choked and self.current.is_whole
            self._connection.allow(inf if is_over else TAKE_WITHIN)
        if not is_choked and self.current is None and not self._parser.is_deaf:
            self._rest()

    def end(self) -> None:
        """Forget what waits: the sender is gone."""
        while self._waiting:
            self._waiting.popleft().forget()
        if isinstance(self.current, Passed):
            self.current.refuse(Refusal(400, "incomplete"))

    def _passed(self, head: Head) -> Request:
        """Return it as it will be passed on, if there is a site that it is for."""
        request = head.request
        site = self._listener.site_for(request)
        if site is None:
            return request
        names = [name for name, _ in request.headers]
        is_known = request.fields.get("upgrade", "").lower() == "websocket"
        switches = head.upgrades and is_known and names.count("upgrade") == 1
        passed = Passed(request, head.target, head.version, site, switches=switches)
        self.switching = passed if switches else None
        return passed

    def _continue(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer_next(self) -> None:
        self.current = request = self._waiting.popleft()
        if request.is_whole:
            self._connection.deadline = inf
        self._listener.tasks.one("a connection", self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            if isinstance(request, Passed) and await self._pass_on(request):
                return
            answer = await self._respond(request)
            request.forget()
            self.current = None
            if not self._transport.is_closing():
                stays = self._may_stay(request)
                self._transport.write(encoded(answer, stays, has_body=request.method != "HEAD"))
                self._go_on(request, stays)
        except Exception:
            self._transport.abort()  # or its sender would wait for what does not come
            raise

    async def _respond(self, request: Request) -> Answer:
        try:
            return await self._listener.respond(request)
        except Exception as error:  # noqa: BLE001 # a fault of ours, and its sender is told no more
            fault = error if isinstance(error, Fault) else Fault("answering a request", error)
            self._listener.tasks.report(fault)
            return FAULT

    async def _pass_on(self, request: Passed) -> bool:
        """Send what the worker answers; False if it cannot be asked."""
        if self._listener.passing >= self._listener.most_passing:
            return False
        self._listener.passing += 1
        try:
            stays = await request.pass_on(self._transport)
        except SiteGone:
            return False
        finally:
            self._listener.passing -= 1
        self.current = None
        if not self._transport.is_closing():
            self._go_on(request, stays and self._may_stay(request))
        return True

    def _may_stay(self, request: Request) -> bool:
        stays = request.stays and request.is_whole and not self._listener.is_stopping
        return stays and (not self._parser.is_deaf or bool(self._waiting))

    def _go_on(self, request: Request, stays: bool) -> None:
        """Wait for the next request, or end the connection so that the answer is heard."""
        if stays:
            self._rest()
            return
        self._parser.is_deaf = True
        if request.is_whole or self.has_ended:
            self._connection.allow(self._listener.read_within)
            self._transport.close()
        else:
            # To close a connection on which something comes in is to reset it, which may cost the
            # sender the answer.
            seconds = 0.5 if self._listener.is_stopping else HEAR_WITHIN
            self._connection.allow(min(seconds, self._listener.read_within))
            self._transport.write_eof()

    def _rest(self) -> None:
        """Turn to the next request, or wait for one."""
        is_awaited = self._waiting or self._parser.is_in_head or self.is_choked
        self._connection.allow(self._listener.read_within if is_awaited else REST_WITHIN)
        if self.is_choked:
            self._transport.pause_reading()
            return
        if self._waiting:
            self._answer_next()
        if not (self._waiting or self._transport.is_reading()):
            self._transport.resume_reading()


def encoded(answer: Answer, stays: bool, has_body: bool) -> bytes:
    """Return an answer as it is sent."""
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
    return f"date: {formatdate(now, usegmt=True)}\r\n".encode()
