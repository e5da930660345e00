"""Load the scripts, and call their handlers for the gateway."""

import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from hfhooks.errors import Fault
from hfhooks.model.ending import Ending, failed_by
from hfhooks.model.endpoint import Endpoint
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.failures import errors_of
from hfhooks.script.handover import arguments
from hfhooks.script.registry import Registry
from hfhooks.script.target import Target
from hfhooks.tasks import run
from hfhooks.worker.app import build, other_routes
from hfhooks.worker.calls import Calls
from hfhooks.worker.control import Control, end_by
from hfhooks.worker.frames import (
    ATTEMPT,
    BLOCKED,
    LATE,
    PAGE,
    READY,
    SERVED,
    STOP,
    Frame,
    Malformed,
    attempt_from,
    of_ending,
)
from hfhooks.worker.loading import load
from hfhooks.worker.loops import Loops
from hfhooks.worker.site import WithState, entered, has_page
from hfhooks.worker.sources import local_files

if TYPE_CHECKING:
    from hfhooks.worker.pages import Pages

__all__ = ["load_and_serve", "make_room_for"]

log = logging.getLogger(__name__)


def load_and_serve(message: dict[str, Any], control: Control) -> None:
    """Load the targets, report their endpoints, and call handlers until told to stop.

    Raises `HfhooksError` when they cannot be loaded.
    """
    targets = [Target.from_json(row) for row in message["targets"]]
    sys.argv[:] = [targets[0].program, *arguments()]
    try:
        registry = load(targets)
    finally:
        redact.learn_environment()  # scripts may add to it, as from a file

    def failed_late(delivery: Delivery, error: str) -> None:
        control.report(LATE, id=delivery.id, attempt=delivery.attempt, error=redact(error))

    app, endpoints = build(registry, failed_late)
    run(_serve(_Served(app, endpoints, registry, control, failed_late), targets))
    control.send(Frame(SERVED))


async def _serve(served: "_Served", targets: Sequence[Target]) -> None:
    async with AsyncExitStack() as stack:
        with errors_of(targets[0]):
            state = await stack.enter_async_context(entered(served.app))
        await served.serve(state)


class _Served:
    """What there is of the scripts that were loaded."""

    def __init__(
        self,
        app: FastAPI,
        endpoints: Sequence[Endpoint],
        registry: Registry,
        control: Control,
        failed_late: Callable[[Delivery, str], None],
    ) -> None:
        self.app = app
        self._endpoints, self._registry = endpoints, registry
        self._control = control
        self._failed_late = failed_late

    async def serve(self, state: dict[str, Any]) -> None:
        """Say what there is, and serve it until told to stop."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        served = WithState(self.app, state) if state else self.app
        others = other_routes(self.app)
        self._pages = _pages(served) if others else None
        self._loops = Loops(
            Calls(self.app, served, self._failed_late),
            self._registry,
            prepare=lambda: make_room_for(self._endpoints),
            on_blocked=lambda why: self._control.report(BLOCKED, why=why),
            on_active=lambda loop: self._control.attach(loop, self._take),
            on_fault=end_by,
        )
        self._control.report(
            READY,
            endpoints=[endpoint.as_json() for endpoint in self._endpoints],
            has_site=bool(others),
            has_page=has_page(others),
            files=local_files(),
        )
        await self._loops.serve()
        if self._pages:
            await self._pages.finish()

    def _take(self, frame: Frame, sock: Callable[[], socket.socket]) -> None:
        if frame.kind == ATTEMPT:
            self._begin(frame)
        elif frame.kind == PAGE and self._pages:
            self._show(self._pages, sock())
        elif frame.kind == STOP:
            self._loops.stop()

    def _begin(self, frame: Frame) -> None:
        def answered(ending: Ending) -> None:
            self._control.send(of_ending(frame.number, ending))

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


def make_room_for(endpoints: Sequence[Endpoint]) -> None:
    """Make room, on the running loop, for all `def` handlers that may run at once."""
    threads = current_default_thread_limiter()
    needed = sum(endpoint.max_concurrency for endpoint in endpoints)
    threads.total_tokens = max(threads.total_tokens, needed)
