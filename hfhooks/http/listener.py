"""HTTP/1.1 on the public side: requests in, answers out, in bounded time and room.

uvicorn, which serves the worker, has no deadlines, limits no heads, and takes more time for a
delivery than all else that is done before it is acknowledged.
"""

import asyncio
import errno
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus
from math import inf
from typing import Any

import httptools

from hfhooks.dispatch.client import WorkerGone
from hfhooks.errors import StartError, UsageError
from hfhooks.http.limits import (
    HEAR_WITHIN,
    MAX_BODY,
    MOST_CONNECTIONS,
    MOST_HEAD,
    READ_WITHIN,
    REST_WITHIN,
    Refusal,
    Room,
    check_head,
)
from hfhooks.http.messages import Answer, Request
from hfhooks.http.passage import Passed, Site
from hfhooks.model.headers import BODILESS

__all__ = ["Listener", "bind"]

TAKE_WITHIN = 60.0
"""Seconds in which something must come, or go, of what is passed on."""
LOOK_EVERY = 0.25
"""Seconds between two looks at the connections' deadlines."""


class Listener:
    """Hands requests that come in at a bound socket to `respond`, and sends what it answers.

    Those that `site_for` finds a site for are passed on to it. `patience` is how many seconds after
    `stop` the last answers may take.
    """

    def __init__(
        self,
        respond: Callable[[Request], Awaitable[Answer]],
        sock: socket.socket,
        *,
        patience: float = inf,
        max_body: int = MAX_BODY,
        read_within: float = READ_WITHIN,
        most_connections: int = MOST_CONNECTIONS,
        site_for: Callable[[Request], Site | None] = lambda _: None,
    ) -> None:
        self.respond = respond
        self.site_for = site_for
        self.passing = 0
        """How many requests are being passed on."""
        self.most_passing = most_connections // 2
        self.read_within = read_within
        self.room = Room(max_body)
        self._sock = sock
        self._patience = patience
        self._most_connections = most_connections
        self._connections: set[_Connection] = set()
        self._stopped = asyncio.Event()
        self._emptied = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        return self._stopped.is_set()

    async def listen(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), sock=self._sock, backlog=2048)
        looking = asyncio.create_task(self._look_at_deadlines())
        await self._stopped.wait()
        server.close()
        for connection in list(self._connections):
            connection.leave()
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), min(self._patience, 1e6))
        looking.cancel()
        for connection in list(self._connections):
            connection.abort()

    def stop(self) -> None:
        """Accept nothing more, finish what is being answered, and end."""
        self._stopped.set()

    def admit(self, connection: "_Connection") -> bool:
        """Tell whether there is room for a connection, if need be by closing one that rests."""
        if self.is_stopping:
            return False
        if len(self._connections) >= self._most_connections:
            resting = [other for other in self._connections if other.is_resting]
            if not resting:
                return False
            min(resting, key=lambda other: other.deadline).abort()
        self._connections.add(connection)
        return True

    def forget(self, connection: "_Connection") -> None:
        """Count a connection no more."""
        self._connections.discard(connection)
        if self.is_stopping and not self._connections:
            self._emptied.set()

    async def _look_at_deadlines(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(LOOK_EVERY, self.read_within / 10))
            now = loop.time()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.expire()


class _Connection(asyncio.Protocol):
    """One connection of a sender; the `on_…` methods are httptools' callbacks."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._current: Request | None = None
        """The one that is being answered."""
        self._waiting: deque[Request] = deque()
        """Those sent without awaiting the answer to the one before."""
        self._arriving: Request | None = None
        """The one whose body is being read."""
        self._is_in_head = False
        self._head_size = 0
        self._unread = 0
        """Bytes that came since the last part of a body, or since a head began."""
        self._task: asyncio.Task[None] | None = None
        self._is_deaf = False
        """What still comes is thrown away."""
        self._switching: Passed | None = None
        """The one whose sender has gone on, or wants to, with another protocol than HTTP."""
        self._is_choked = False
        """What was sent is not taken, so there is no next answer."""
        self._has_ended = False
        """Nothing comes any more."""
        self.deadline = 0.0
        """When, in the loop's time, it has taken too long to arrive, or to rest."""

    @property
    def is_resting(self) -> bool:
        """There is no request."""
        return not (self._current or self._is_in_head or self._is_deaf)

    def leave(self) -> None:
        """Close it, now or when its answer is sent; a stream may have no end."""
        if self.is_resting:
            self._transport.close()
        elif isinstance(self._current, Passed):
            self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()

    def expire(self) -> None:
        """Give up what has not arrived in time."""
        self.deadline = inf
        if self._is_deaf or self.is_resting:
            self._transport.abort()
        elif self._is_in_head:
            self._fail(Refusal(408, "too_slow"))
        elif self._arriving:
            self._arriving.refuse(Refusal(408, "too_slow"))
        elif self._is_choked:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._allow(self._listener.read_within)
        if not self._listener.admit(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        while self._waiting:
            self._waiting.popleft().forget()
        self._break_off()
        if isinstance(self._current, Passed):
            self._current.refuse(Refusal(400, "incomplete"))

    def eof_received(self) -> bool:
        if isinstance(self._current, Passed):
            self._current.end()
            return self._switching is not None
        # Who has nothing more to say may still listen to the answer.
        self._break_off()
        self._is_deaf = self._has_ended = True
        return self._current is not None

    def pause_writing(self) -> None:
        self._is_choked = True
        if isinstance(self._current, Passed):
            self._current.hold(True)
            self._allow(TAKE_WITHIN)

    def resume_writing(self) -> None:
        self._is_choked = False
        if isinstance(self._current, Passed):
            self._current.hold(False)
            self._allow(inf if self._current.is_whole else TAKE_WITHIN)
        if self._current is None and not self._is_deaf:
            self._rest()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._switching:
            self._switching.take(data)
            return
        if self._is_in_head:
            self._head_size += len(data)
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._switching:
                self._switching.take(data[upgrade.args[0] :])
            else:
                self._is_deaf = True  # what follows is none of our business
        except httptools.HttpParserError:
            self._fail(Refusal(400, "bad_request"))
        if self._is_in_head and self._head_size > MOST_HEAD:
            self._fail(Refusal(431, "head_too_big"))
        elif self._arriving and self._unread > MOST_HEAD + len(data):
            self._fail(Refusal(431, "head_too_big"))  # trailers, or what describes chunks

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_size, self._unread = True, 0, 0
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        if self._current is None:
            self._allow(self._listener.read_within)

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:  # a trailer, which nobody needs, and nobody has checked
            return
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        request = Request(method, self._target, self._headers, self._listener.room)
        version = parser.get_http_version()
        try:
            check_head(version, self._target, request.fields, self._headers)
            if parser.should_upgrade() and request.has_body:  # the parser would not read it
                raise Refusal(400, "bad_request")
            request.stays = parser.should_keep_alive() and version == "1.1"
        except Refusal as refusal:
            request.bad_head = refusal
        else:
            request = self._passed(request)
        if "content-length" in request.fields:
            request.expect(request.fields["content-length"])
        if request.fields.get("expect", "").lower() == "100-continue":
            request.on_wanted = self._continue
        self._arriving = request
        self._take(request)

    def _passed(self, request: Request) -> Request:
        """Return it as it will be passed on, if there is a site that it is for."""
        site = self._listener.site_for(request)
        if site is None:
            return request
        names = [name for name, _ in request.headers]
        is_known = request.fields.get("upgrade", "").lower() == "websocket"
        switches = self._parser.should_upgrade() and is_known and names.count("upgrade") == 1
        version = self._parser.get_http_version()
        passed = Passed(request, self._target, version, site, switches=switches)
        self._switching = passed if switches else None
        return passed

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if self._arriving:
            self._arriving.take(body)
            if isinstance(self._arriving, Passed):
                self._allow(TAKE_WITHIN)

    def on_message_complete(self) -> None:
        if self._arriving is self._current and not self._is_choked:
            self.deadline = inf
        if self._arriving:
            self._arriving.complete()
        self._arriving = None

    def _allow(self, seconds: float) -> None:
        self.deadline = self._loop.time() + seconds

    def _continue(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _fail(self, refusal: Refusal) -> None:
        """Hear no more, and say why, after the answers to what came before."""
        self._is_deaf, self._is_in_head = True, False
        if self._arriving:
            self._arriving.refuse(refusal)
            return
        request = Request("", b"", [], self._listener.room)
        request.bad_head = refusal
        self._take(request)

    def _break_off(self) -> None:
        if self._arriving:
            self._arriving.refuse(Refusal(400, "incomplete"))

    def _take(self, request: Request) -> None:
        """Answer a request in its turn; until then no more is read."""
        self._waiting.append(request)
        if self._current is None and not self._is_choked:
            self._answer_next()
        else:
            self._transport.pause_reading()

    def _answer_next(self) -> None:
        self._current = self._waiting.popleft()
        if self._current.is_whole:
            self.deadline = inf
        self._task = self._loop.create_task(self._answer(self._current))

    async def _answer(self, request: Request) -> None:
        if isinstance(request, Passed) and await self._pass_on(request):
            return
        try:
            answer = await self._listener.respond(request)
        except Exception as error:  # noqa: BLE001 # a fault of ours, and its sender is told no more
            self._loop.call_exception_handler({"message": "A fault in hfhooks", "exception": error})
            answer = Answer(500, b'{"error": "internal"}')
        request.forget()
        self._current = None
        if not self._transport.is_closing():
            self._send(request, answer)

    async def _pass_on(self, request: Passed) -> bool:
        """Send what the worker answers; False if it cannot be asked."""
        if self._listener.passing >= self._listener.most_passing:
            return False
        self._listener.passing += 1
        try:
            stays = await request.pass_on(self._transport)
        except WorkerGone:
            return False
        finally:
            self._listener.passing -= 1
        self._current = None
        if not self._transport.is_closing():
            self._go_on(request, stays and self._may_stay(request))
        return True

    def _send(self, request: Request, answer: Answer) -> None:
        stays = self._may_stay(request)
        self._transport.write(_encoded(answer, stays, has_body=request.method != "HEAD"))
        self._go_on(request, stays)

    def _may_stay(self, request: Request) -> bool:
        stays = request.stays and request.is_whole and not self._listener.is_stopping
        return stays and (not self._is_deaf or bool(self._waiting))

    def _go_on(self, request: Request, stays: bool) -> None:
        """Wait for the next request, or end the connection so that the answer is heard."""
        if stays:
            self._rest()
        elif request.is_whole or self._has_ended:
            self._hear_no_more(self._listener.read_within)
            self._transport.close()
        else:
            # To close a connection on which something comes in is to reset it, which may cost the
            # sender the answer.
            self._hear_no_more(0.5 if self._listener.is_stopping else HEAR_WITHIN)
            self._transport.write_eof()

    def _hear_no_more(self, seconds: float) -> None:
        """Let the last answer be sent, for so many seconds at most."""
        self._is_deaf = True
        self._allow(min(seconds, self._listener.read_within))

    def _rest(self) -> None:
        """Turn to the next request, or wait for one."""
        is_awaited = self._waiting or self._is_in_head or self._is_choked
        self._allow(self._listener.read_within if is_awaited else REST_WITHIN)
        if self._is_choked:
            self._transport.pause_reading()
            return
        if self._waiting:
            self._answer_next()
        if not (self._waiting or self._transport.is_reading()):
            self._transport.resume_reading()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket at this address; port 0 takes a free one.

    Raises `UsageError` for an address that is none of this machine's, `StartError` for a port
    that cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"--host {host}: no such address.") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {host}: not an address of this machine.") from error
        if error.errno == errno.EADDRINUSE:
            help = "Stop the program that has it, or choose another: --port 0 takes a free one."
            raise StartError(f"port {port} is in use.", help) from error
        raise StartError(f"port {port} cannot be used: {error.strerror}.") from error


def _encoded(answer: Answer, stays: bool, has_body: bool) -> bytes:
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
