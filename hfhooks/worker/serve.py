"""Load the scripts and answer the deliveries that the gateway hands over."""

import logging
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from hfhooks.model.endpoint import Endpoint
from hfhooks.model.headers import TOKEN_HEADER
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.handover import arguments
from hfhooks.script.registry import Registry
from hfhooks.tasks import run
from hfhooks.worker.app import build, other_routes
from hfhooks.worker.control import Control
from hfhooks.worker.listener import Listener
from hfhooks.worker.loading import Target, errors_of, load
from hfhooks.worker.relief import Relief
from hfhooks.worker.site import WithState, entered, has_page
from hfhooks.worker.sources import local_files

__all__ = ["Guarded", "bind", "make_room_for", "serve"]


def serve(message: dict[str, Any], control: Control) -> None:
    """Load the targets, report their endpoints, and serve until told to stop.

    Raises `HfhooksError` when they cannot be loaded.
    """
    targets = [Target.from_json(row) for row in message["targets"]]
    sys.argv[:] = [targets[0].program, *arguments()]
    try:
        registry = load(targets)
    finally:
        redact.learn_environment()  # scripts may add to it, as from a file

    def failed_late(delivery: Delivery, error: str) -> None:
        control.report(
            type="failed_late", id=delivery.id, attempt=delivery.attempt, error=redact(error)
        )

    app, endpoints = build(registry, failed_late)
    run(_serve(app, endpoints, registry, targets, message, control))
    control.report(type="served")


async def _serve(
    app: FastAPI,
    endpoints: list[Endpoint],
    registry: Registry,
    targets: Sequence[Target],
    message: dict[str, Any],
    control: Control,
) -> None:
    others = other_routes(app)

    def started() -> None:
        control.report(
            type="ready",
            port=port,
            endpoints=[endpoint.as_json() for endpoint in endpoints],
            has_site=bool(others),
            has_page=has_page(others),
            files=local_files(),
        )

    def blocked(endpoint: str | None, why: str | None, begun: list[str], generation: int) -> None:
        control.report(
            type="blocked", endpoint=endpoint, why=why, begun=begun, generation=generation
        )

    def wrap(app: Any) -> Any:
        return Guarded(app, message["token"]) if port else app

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    async with AsyncExitStack() as stack:
        with errors_of(targets[0]):
            state = await stack.enter_async_context(entered(app))
        sock, port = bind(message["socket"])
        relief = Relief(
            WithState(app, state) if state else app,
            registry,
            prepare=lambda: make_room_for(endpoints),
            on_blocked=blocked,
            on_free=lambda: control.report(type="free"),
        )
        listener = Listener(wrap(relief), sock, started, is_plain=not others)
        control.on_stop = listener.stop
        await relief.listen(listener, wrap)


def make_room_for(endpoints: Sequence[Endpoint]) -> None:
    """Let as many `def` handlers run at once as may."""
    threads = current_default_thread_limiter()
    needed = sum(endpoint.max_concurrency for endpoint in endpoints)
    threads.total_tokens = max(threads.total_tokens, needed)


class Guarded:
    """Lets in only the gateway, where the socket is a port that others can reach."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = (TOKEN_HEADER.encode(), token.encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or self._expected in scope["headers"]:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await send({"type": "websocket.close"})


def bind(path: str | None) -> tuple[socket.socket, int | None]:
    """Return a Unix socket at the path, or without one a loopback socket and its port."""
    if path is None:
        sock = socket.create_server(("127.0.0.1", 0))
        return sock, sock.getsockname()[1]
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    return sock, None
