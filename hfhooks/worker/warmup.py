"""What the first use of things costs, paid while no script waits for it."""

import sys
from contextlib import suppress
from importlib import import_module

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.payload import WebhookPayload
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Handler, Registration, Registry
from hfhooks.tasks import run
from hfhooks.worker.after import Room
from hfhooks.worker.calls import Calls
from hfhooks.worker.direct import direct_of
from hfhooks.worker.frames import attempt_from, of_attempt, of_ending

__all__ = ["warm_up", "warm_up_spare"]

BODY = b'{"event": {"action": "update", "scope": "repo"}, "repo": {"name": "warm/up"}}'
HEADERS = (("content-type", "application/json"),)


async def _direct(payload: WebhookPayload) -> None: ...


def _in_thread(payload: WebhookPayload) -> None: ...


def _through_the_app(payload: WebhookPayload, delivery: Delivery) -> None: ...


def warm_up(*handlers: Handler) -> None:
    """Call handlers: all that serving needs is then imported and has been used.

    Through FastAPI only where it is imported already.
    """
    with suppress(Exception):  # the load meets it again, and tells
        for handler in handlers or (_direct,):
            if direct := direct_of(handler, Room(1)):
                run(_call(Calls({"a": direct}, _no_app, _nobody_hears)))
        if "fastapi" in sys.modules:
            run(_call_through_the_app())


def warm_up_spare(needs_fastapi: bool) -> None:
    """Warm up for whatever handlers there may be; with FastAPI where the scripts need it."""
    with suppress(Exception):
        if needs_fastapi:
            import_module("hfhooks.worker.app")
    warm_up(_direct, _in_thread)


async def _call_through_the_app() -> None:
    from starlette.types import Receive, Scope, Send

    from hfhooks.worker.app import build
    from hfhooks.worker.site import entered

    registry = Registry(is_served=True)
    registry.add(Registration(Endpoint("a"), _through_the_app))
    app, _ = build(registry)
    # Not the app itself: with OpenTelemetry it would tell of a request that nobody has made.
    stack = app.build_middleware_stack()

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await stack({**scope, "app": app}, receive, send)

    async with entered(app):
        await _call(Calls({}, served, _nobody_hears))


async def _call(calls: Calls) -> None:
    claim = Claim(1, Recorded("a", 0.0, "", HEADERS, BODY), 1, "")
    await calls(*attempt_from(of_attempt(1, claim, None)), _answered)


def _answered(ending: Ending) -> None:
    of_ending(1, ending)


async def _no_app(*_: object) -> None: ...


def _nobody_hears(*_: object) -> None: ...
