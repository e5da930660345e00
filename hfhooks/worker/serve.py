"""Load the scripts and answer the deliveries that the gateway hands over."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from anyio.to_thread import current_default_thread_limiter

from hfhooks.loop import run
from hfhooks.redact import redact
from hfhooks.wire import TOKEN_HEADER
from hfhooks.worker.app import build
from hfhooks.worker.control import Control
from hfhooks.worker.listener import Listener
from hfhooks.worker.loading import Target, load
from hfhooks.worker.sources import local_files

__all__ = ["serve"]


def serve(message: dict[str, Any], control: Control) -> None:
    """Load the targets, report their endpoints, and serve until told to stop.

    Raises `HfhooksError` when they cannot be loaded.
    """
    targets = [Target.from_json(row) for row in message["targets"]]
    sys.argv[:] = [targets[0].program]
    try:
        registrations = load(targets)
    finally:
        redact.learn_environment()  # scripts may add to it, as from a file
    app, endpoints = build(registrations)
    sock, port = _bind(message["socket"])

    def started() -> None:
        loop = asyncio.get_running_loop()
        control.on_ping = lambda: _from_thread(loop, lambda: control.report(type="responsive"))
        threads = current_default_thread_limiter()
        needed = sum(endpoint.max_concurrency for endpoint in endpoints)
        threads.total_tokens = max(threads.total_tokens, needed)
        rows = [endpoint.as_json() for endpoint in endpoints]
        control.report(type="ready", port=port, endpoints=rows, files=local_files())

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    listener = Listener(_Guarded(app, message["token"]) if port else app, sock, started)
    control.on_stop = listener.stop
    run(listener.listen())
    control.report(type="served")


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: we are leaving
        loop.call_soon_threadsafe(call)


class _Guarded:
    """Lets in only the gateway, where the socket is a port that others can reach."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = (TOKEN_HEADER.encode(), token.encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._expected not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await self._app(scope, receive, send)


def _bind(path: str | None) -> tuple[socket.socket, int | None]:
    """Return a Unix socket at the path, or without one a loopback socket and its port."""
    if path is None:
        sock = socket.create_server(("127.0.0.1", 0))
        return sock, sock.getsockname()[1]
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    return sock, None
