"""HTTP/1.1 to the worker over its private socket: connections are kept, one request each.

A general HTTP client costs five times the CPU on this hop, which every delivery takes.
"""

import asyncio
import errno
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httptools

from hfhooks.model.headers import (
    GENERATION_HEADER,
    NOT_BEGUN,
    OUTCOME_HEADER,
    RETRY_AFTER_HEADER,
    TOKEN_HEADER,
)

__all__ = [
    "Connection",
    "Exhausted",
    "Interrupted",
    "NotBegun",
    "Response",
    "WorkerClient",
    "WorkerGone",
]


P = TypeVar("P", bound=asyncio.Protocol)


class WorkerGone(Exception):
    """The worker ended before it answered."""


class Interrupted(WorkerGone):
    """The worker was ended on purpose before it answered."""


class NotBegun(WorkerGone):
    """The worker has not called the handler; another connection may do."""


class Exhausted(WorkerGone):
    """The machine has no room for another connection; the worker cannot help it."""


@dataclass
class Response:
    """What the worker answered. Header names are lower case."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @property
    def outcome(self) -> str | None:
        """The worker's word for what happened; None where the handler's author wrote the answer."""
        return self._own(OUTCOME_HEADER)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the handler wants to pass before it is called again."""
        with suppress(ValueError):
            return float(self._own(RETRY_AFTER_HEADER) or "")
        return None

    def _own(self, header: str) -> str | None:
        name = header.encode()
        return next((value.decode() for key, value in self.headers if key == name), None)


class WorkerClient:
    """Connections to one worker process, as many as there are requests at once.

    `address` is the path of a Unix socket, or a port of the loopback interface, where a token
    tells us from others.
    """

    def __init__(self, address: str | int, token: str | None = None) -> None:
        self.own_headers = [(TOKEN_HEADER, token)] if token else []
        """What each request tells the worker."""
        self._address = address
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._is_closed = False

    async def connect(self) -> "Connection":
        """Return a connection for one request. Raises `WorkerGone`."""
        while self._idle:
            if not (connection := self._idle.pop()).is_closing:
                break
        else:
            connection = await self.reach(lambda: Connection(self))
        self._in_use.add(connection)
        return connection

    async def reach(self, protocol: Callable[[], P]) -> P:
        """Return a new connection that speaks this protocol. Raises `WorkerGone`."""
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self._address, int):
                _, connection = await loop.create_connection(protocol, "127.0.0.1", self._address)
            else:
                _, connection = await loop.create_unix_connection(protocol, self._address)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise Exhausted(str(error)) from error
            raise WorkerGone(str(error)) from error
        return connection

    def close(self) -> None:
        """Close the idle connections now, those in use when their answer is there."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def outlive(self, generation: int) -> None:
        """Note that loops of the worker were blocked so many times, in all.

        What was asked for before is begun no more.
        """
        others = [header for header in self.own_headers if header[0] != GENERATION_HEADER]
        self.own_headers = [*others, (GENERATION_HEADER, str(generation))]
        self.renew()

    def renew(self) -> None:
        """Ask for what follows on new connections, which another loop of the worker may accept."""
        while self._idle:
            self._idle.pop().close()
        for connection in self._in_use:
            connection.is_last_answer = True

    def owns(self, connection: object) -> bool:
        """Tell whether a connection is one of these, and in use."""
        return connection in self._in_use

    def abort(self) -> None:
        """Close all connections: the worker is gone, though its own children may hold them."""
        self.close()
        for connection in list(self._in_use):
            connection.abort()

    def interrupt(self) -> None:
        """Give up on the answers that are awaited: the worker is about to be ended."""
        for connection in list(self._in_use):
            connection.fail(Interrupted("the worker is about to be ended"))
        self.abort()

    def keep(self, connection: "Connection") -> None:
        """Take a connection back that has its answer and can be used again."""
        self._in_use.discard(connection)
        if self._is_closed or connection.is_last_answer:
            connection.close()
        else:
            self._idle.append(connection)

    def forget(self, connection: "Connection") -> None:
        """Use a connection no more that was closed."""
        self._in_use.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class Connection(asyncio.Protocol):
    """One kept connection; the `on_…` methods are httptools' callbacks."""

    def __init__(self, client: WorkerClient) -> None:
        self._client = client
        self._transport: Any = None
        self._answered: asyncio.Future[Response] | None = None
        self._is_reusable = False
        self.is_last_answer = False
        """It is not used again."""

    async def post(self, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> Response:
        """Send one request and return the answer. Raises `WorkerGone`."""
        if self.is_closing:
            raise WorkerGone("the connection is closed")
        self._parser = httptools.HttpResponseParser(self)
        self._response, self._chunks = Response(), list[bytes]()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(_encode(target, [*headers, *self._client.own_headers], body))
        try:
            response = await self._answered
        except BaseException:
            self.close()
            raise
        if response.outcome == NOT_BEGUN:
            self.close()
            raise NotBegun("the connection was abandoned")
        if self._is_reusable:
            self._client.keep(self)
        else:
            self.close()
        return response

    @property
    def is_closing(self) -> bool:
        return bool(self._transport.is_closing())

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        """Give up on the answer."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(WorkerGone(f"the worker answered no HTTP: {error}"))
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.forget(self)
        self.fail(WorkerGone("the worker closed the connection"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._response.status = self._parser.get_status_code()
        self._response.body = b"".join(self._chunks)
        self._is_reusable = self._parser.should_keep_alive()
        if self._answered and not self._answered.done():
            self._answered.set_result(self._response)

    def fail(self, error: WorkerGone) -> None:
        """Let who awaits the answer know that it will not come."""
        if self._answered and not self._answered.done():
            self._answered.set_exception(error)


def _encode(target: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"content-length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1") + body
