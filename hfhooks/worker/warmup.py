"""What the first use of things costs, paid while no script waits for it."""

from contextlib import suppress

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.payload import WebhookPayload
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Handler, Registration, Registry
from hfhooks.tasks import run
from hfhooks.worker.app import build
from hfhooks.worker.calls import Calls
from hfhooks.worker.frames import attempt_from, of_attempt, of_ending
from hfhooks.worker.site import entered

__all__ = ["warm_up"]

BODY = b'{"event": {"action": "update", "scope": "repo"}, "repo": {"name": "warm/up"}}'
HEADERS = (("content-type", "application/json"),)


def _direct(payload: WebhookPayload) -> None: ...


def _through_the_app(payload: WebhookPayload, delivery: Delivery) -> None: ...


def warm_up(*handlers: Handler) -> None:
    """Call a handler in each way: all that serving needs is then imported and has been used."""
    with suppress(Exception):  # the load meets it again, and tells
        registry = Registry(is_served=True)
        used: tuple[Handler, ...] = handlers or (_direct, _through_the_app)
        for number, handler in enumerate(used):
            registry.add(Registration(Endpoint(f"warm-up-{number}"), handler))
        app, endpoints = build(registry)
        run(_call(app, [endpoint.name for endpoint in endpoints]))


async def _call(app: FastAPI, endpoints: list[str]) -> None:
    current_default_thread_limiter()
    # Not the app itself: with OpenTelemetry it would tell of a request that nobody has made.
    stack = app.build_middleware_stack()

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await stack({**scope, "app": app}, receive, send)

    def answered(ending: Ending) -> None:
        of_ending(1, ending)

    async with entered(app):
        call = Calls(app, served, lambda *_: None)
        for endpoint in endpoints:
            claim = Claim(1, Recorded(endpoint, 0.0, "", HEADERS, BODY), 1, "")
            await call(*attempt_from(of_attempt(1, claim, None)), answered)
