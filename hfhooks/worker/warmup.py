"""What the first use of things costs, paid while no script waits for it."""

from contextlib import suppress

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Scope

from hfhooks.model.endpoint import Endpoint
from hfhooks.model.payload import WebhookPayload
from hfhooks.script.registry import Handler, Registration, Registry
from hfhooks.tasks import run
from hfhooks.worker.app import build

__all__ = ["warm_up"]

DELIVERY = {
    "type": "http",
    "method": "POST",
    "path": Endpoint("warm-up").path,
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}
REQUEST = {
    "type": "http.request",
    "body": b'{"event": {"action": "update", "scope": "repo"}, "repo": {"name": "warm/up"}}',
}
LIFESPAN = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})


def _handler(payload: WebhookPayload) -> None: ...


def warm_up(handler: Handler = _handler) -> None:
    """Answer one delivery in memory: all that serving needs is then imported and has been used."""
    with suppress(Exception):  # the load meets it again, and tells
        registry = Registry(is_served=True)
        registry.add(Registration(Endpoint("warm-up"), handler))
        app, _ = build(registry)
        uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None).load()
        run(_serve(app))


async def _serve(app: FastAPI) -> None:
    current_default_thread_limiter()
    # Not the app itself: with OpenTelemetry it would tell of a request that nobody has made.
    stack = app.build_middleware_stack()
    await _exchange(stack, {"type": "lifespan", "app": app}, *LIFESPAN)
    await _exchange(stack, {**DELIVERY, "app": app}, REQUEST)


async def _exchange(app: ASGIApp, scope: Scope, *messages: Message) -> None:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming, {"type": "http.disconnect"})

    async def send(message: Message) -> None: ...

    await app(scope, receive, send)
