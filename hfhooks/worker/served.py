"""Load the scripts, and call their handlers for the gateway."""

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING, Any

from hfhooks.errors import Fault
from hfhooks.model.ending import ANSWERED, Ending, failed_by
from hfhooks.model.endpoint import Endpoint
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.failures import errors_of
from hfhooks.script.handover import arguments
from hfhooks.script.registry import Registry
from hfhooks.script.target import Target
from hfhooks.secret import environment_secrets
from hfhooks.tasks import run
from hfhooks.worker.calls import Calls, Late
from hfhooks.worker.control import Control, end_by
from hfhooks.worker.direct import direct_alone
from hfhooks.worker.frames import (
    ATTEMPT,
    BLOCKED,
    CANCEL,
    LATE,
    LEFT,
    PAGE,
    READY,
    SERVED,
    STOP,
    Frame,
    Malformed,
    attempt_from,
    message_from,
    of_ending,
)
from hfhooks.worker.late import LateApp
from hfhooks.worker.loading import load
from hfhooks.worker.loops import Loops
from hfhooks.worker.sources import local_files

if TYPE_CHECKING:
    from hfhooks.worker.pages import Pages

__all__ = ["load_and_serve", "make_room"]

log = logging.getLogger(__name__)


def load_and_serve(message: dict[str, Any], control: Control) -> None:
    """Load the targets, report their endpoints, and call handlers until told to stop.

    Raises `HfhooksError` when they cannot be loaded.
    """
    targets = [Target.from_json(row) for row in message["targets"]]
    sys.argv[:] = [targets[0].program, *arguments()]
    registry = load(targets)

    def late(delivery: Delivery, error: str | None) -> None:
        control.flush()  # the answer goes first
        error = error and redact(error)
        control.report(LATE, id=delivery.id, attempt=delivery.attempt, error=error)

    direct = direct_alone(registry)
    if direct is None:
        run(_serve_app(registry, targets, control, late))
    else:
        secrets = environment_secrets(os.environ)
        declared = [each.endpoint for each in registry.registrations.values()]
        endpoints = [each.guarded_by(secrets) for each in declared]
        calls = Calls(direct, LateApp(registry, late), late)
        run(_Served(calls, endpoints, registry, control).serve())
    control.send(Frame(SERVED))


async def _serve_app(
    registry: Registry, targets: Sequence[Target], control: Control, late: Late
) -> None:
    """Serve what is part of a FastAPI application, within its lifespan."""
    from hfhooks.worker.app import build, direct_handlers, other_routes
    from hfhooks.worker.site import WithState, entered, has_page

    app, endpoints = build(registry, late)
    others = other_routes(app)
    async with AsyncExitStack() as stack:
        with errors_of(targets[0]):
            state = await stack.enter_async_context(entered(app))
        served = WithState(app, state) if state else app
        calls = Calls(direct_handlers(app), served, late)
        pages = _pages(served) if others else None
        await _Served(calls, endpoints, registry, control).serve(pages, has_page(others))


class _Served:
    """What there is of the scripts that were loaded."""

    def __init__(
        self, calls: Calls, endpoints: Sequence[Endpoint], registry: Registry, control: Control
    ) -> None:
        self._endpoints = endpoints
        self._calls, self._control = calls, control
        self._pages: Pages | None = None
        self._loops = Loops(
            calls,
            registry,
            prepare=make_room,
            on_blocked=self._blocked,
            on_active=lambda loop: control.attach(loop, self._take),
            on_fault=end_by,
            on_look=self._looked,
        )

    async def serve(self, pages: "Pages | None" = None, has_page: bool = False) -> None:
        """Say what there is, and serve it until told to stop."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        gc.freeze()  # what is loaded stays: to look for cycles in it takes an eighth of the time
        self._pages = pages
        self._control.report(
            READY,
            endpoints=[endpoint.as_json() for endpoint in self._endpoints],
            has_site=pages is not None,
            has_page=has_page,
            has_fastapi="fastapi" in sys.modules,
            files=local_files(),
        )
        await self._loops.serve(lambda what: self._control.report(LEFT, what=what))
        if pages:
            await pages.finish()

    def _looked(self) -> None:
        """Send what a loop has said in the turn in which it was blocked."""
        self._calls.let_go()
        self._control.flush()

    def _blocked(self, why: str, is_worn_out: bool) -> None:
        self._control.report(BLOCKED, why=redact(why), is_worn_out=is_worn_out)

    def _take(self, frame: Frame, sock: Callable[[], socket.socket]) -> None:
        if frame.kind == ATTEMPT:
            self._begin(frame)
        elif frame.kind == PAGE and self._pages:
            self._show(self._pages, sock())
        elif frame.kind == CANCEL:
            self._loops.cancel(message_from(frame)["id"])
        elif frame.kind == STOP:
            self._loops.stop()

    def _begin(self, frame: Frame) -> None:
        def answered(ending: Ending) -> None:
            if ending.kind != ANSWERED:  # which its author wrote for the sender
                ending.body = redact(ending.body)
            self._control.send(of_ending(frame.number, ending), self._loops.has_more)

        try:
            claim, secret = attempt_from(frame)
            self._loops.take(claim, secret, answered)
        except Malformed:
            raise
        except Exception as error:  # noqa: BLE001 # of this delivery alone
            answered(failed_by(Fault("calling a handler", error)))

    def _show(self, pages: "Pages", sock: socket.socket) -> None:
        try:
            pages.serve(sock)
        except Exception:
            sock.close()
            log.exception("a fault in serving a page:")


def _pages(app: Any) -> "Pages":
    from hfhooks.worker.pages import Pages  # and uvicorn, which nothing else needs

    return Pages(app)


def make_room(threads: float = inf) -> None:
    """Let so many more threads of the running loop call `def` handlers, and what goes with them.

    The gateway bounds how many handlers run, and a `Room` how many background tasks.
    """
    if to_thread := sys.modules.get("anyio.to_thread"):  # nothing uses threads without it
        to_thread.current_default_thread_limiter().total_tokens += threads
