"""A worker that is no process of its own: the application of this one, called as a worker is."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import unquote

from hfhooks.dispatch.client import Response, WorkerGone

__all__ = ["DirectWorker"]

ASGI: TypeAlias = Any
"""An ASGI application, and what it is called with: https://asgi.readthedocs.io/en/latest/specs."""


class DirectWorker:
    """Calls an ASGI application for each delivery, on this event loop."""

    def __init__(self, app: ASGI) -> None:
        self._app = app
        self._calls: set[asyncio.Task[None]] = set()

    async def connect(self) -> "DirectWorker":
        """Return what takes one request: here this is all there is to it."""
        return self

    def keep(self, connection: object) -> None:
        """Do nothing: there is no connection."""

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def abort(self) -> None:
        """Give up on all answers, and on what runs after them."""
        for call in self._calls:
            call.cancel()

    async def drain(self, grace: float) -> None:
        """Give what runs after the answers this many seconds."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=max(grace, 0))
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def post(self, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> Response:
        """Let the application answer one request; it may go on after its answer.

        Raises `WorkerGone` where it gives none.
        """
        exchange = _Exchange(body)
        scope = _scope(target, headers, len(body))
        call = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(exchange.finish)
        try:
            return await exchange.answered
        except asyncio.CancelledError:
            call.cancel()
            raise


class _Exchange:
    """One request and its answer."""

    def __init__(self, body: bytes) -> None:
        self.answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._body: bytes | None = body
        self._response = Response()

    async def receive(self) -> dict[str, Any]:
        if self._body is None:  # the sender is there as long as the application is
            await asyncio.get_running_loop().create_future()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._response.status = message["status"]
            self._response.headers = [(name.lower(), value) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self._response.body += message.get("body", b"")
            if not message.get("more_body", False) and not self.answered.done():
                self.answered.set_result(self._response)

    def finish(self, call: "asyncio.Task[None]") -> None:
        error = None if call.cancelled() else call.exception()
        if not self.answered.done():
            self.answered.set_exception(WorkerGone(f"no answer: {error}"))
            with suppress(WorkerGone):  # who awaited it may be gone
                self.answered.exception()


def _scope(target: str, headers: Iterable[tuple[str, str]], length: int) -> dict[str, Any]:
    path, _, query = target.partition("?")
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [*encoded, (b"content-length", b"%d" % length)],
        "client": None,
        "server": None,
    }
