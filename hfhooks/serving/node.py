"""Gateway, work host and journal of one process, wired together, from start to stop."""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.dispatch.quarantine import Isolated
from hfhooks.errors import Fault, JournalFault, TunnelError
from hfhooks.gateway.app import PROBES, Gateway
from hfhooks.http.limits import READ_WITHIN
from hfhooks.http.listener import Listener, awaiting
from hfhooks.inspector.app import Inspector
from hfhooks.inspector.metrics import Gauges, Metrics
from hfhooks.journal import Journal
from hfhooks.model.condition import Condition
from hfhooks.model.delivery import UNFINISHED
from hfhooks.model.happenings import Failed, Happenings, Note, Stopped
from hfhooks.model.running_server import RunningServer
from hfhooks.processes import end_left
from hfhooks.secret import advice
from hfhooks.serving.announce import Announcement, Known
from hfhooks.serving.service import Service
from hfhooks.serving.signals import Stop, settle
from hfhooks.serving.sockets import Sockets
from hfhooks.settings import Settings, space_url
from hfhooks.tasks import Tasks, in_thread
from hfhooks.tunnels.keeper import Keeper

__all__ = ["Node", "Workers"]

LONG = 1.0
"""Seconds after which a person wonders why nothing happens."""


class Workers(Protocol):
    """What runs the handlers, and tells a `Service` what becomes of them."""

    @property
    def isolated(self) -> Isolated | None:
        """Gives a worker in which nothing else runs; None where all is in this process."""

    async def start(self) -> None:
        """Return when deliveries are taken. Raises `HfhooksError` when that cannot be."""

    async def stop(self, grace: float) -> None:
        """End all workers; the background tasks of handlers get this many seconds."""


class Node:
    """Serves until `stop` is done, and closes the journal.

    `names` is what a person calls what is served, `url` that of the journal.
    """

    def __init__(
        self,
        names: str,
        url: str,
        settings: Settings,
        sockets: Sockets,
        journal: Journal,
        happenings: Happenings,
        stop: Stop,
        workers: Callable[[Service, Tasks], Workers],
    ) -> None:
        self._names, self._settings, self._stop = names, settings, stop
        self._tell = happenings.tell
        self._journal = journal
        self.tasks = Tasks(lambda fault: self._tell(Failed(fault)), self._end)
        """Owns what runs in it."""
        token, probe = secrets.token_urlsafe(32), PROBES + secrets.token_urlsafe(16)
        known = Known(
            settings.host,
            sockets.port,
            sockets.own_url,
            settings.wait,
            url,
            token,
            space_url(),
        )
        self._announcement = Announcement(known, self._tell, self._url_changed)
        self._keeper: Keeper | None = None
        if sockets.tunnel:
            self._keeper = self._announcement.keeper = Keeper(
                sockets.tunnel,
                known.local_url,
                probe,
                self.tasks,
                up=self._announcement.up,
                down=self._announcement.down,
                progress=self._tell,
            )
        self._dispatcher = Dispatcher(journal, self._tell, self.tasks)
        self._gateway = Gateway(
            journal,
            self._dispatcher,
            self._tell,
            url=known.local_url,
            public_url=self._announcement.public_url,
            address=settings.host,
            wait=settings.wait,
            most_kept=sockets.connections // 2,
            token=token,
            probe=probe,
            why_idle=lambda: self._service.why_idle(),
        )
        self._listener = Listener(
            self._gateway.respond,
            sockets.public,
            self.tasks,
            patience=max(settings.grace, READ_WITHIN) + 1,
            max_body=settings.max_body,
            most_connections=sockets.connections,
            site_for=self._gateway.paths.site_for,
        )
        metrics = Metrics()
        happenings.subscribe(metrics)
        cancel = self._dispatcher.cancel
        inspector = Inspector(sockets.own_url, metrics, self._gauges, journal, cancel, token)
        respond = awaiting(inspector.respond, self.tasks)
        self._inspector = Listener(respond, sockets.own, self.tasks, patience=LONG)
        self._service = Service(
            journal, self._gateway, self._dispatcher, self._announcement, self.tasks
        )
        self._workers = workers(self._service, self.tasks)
        self._dispatcher.quarantine.isolated = self._workers.isolated
        journal.when_changed(self._condition_changed)

    @property
    def described(self) -> RunningServer:
        """What others need to know of it now."""
        return self._announcement.described

    async def run(self, reloads: bool = False) -> None:
        """Serve until told to stop. Raises `HfhooksError` when that cannot start or go on."""
        asyncio.get_running_loop().set_exception_handler(self._on_exception)
        try:
            await in_thread(end_left)  # or a delivery might run beside itself
            left = await self._dispatcher.start()
            listening = [
                self.tasks.core("listening", self._listener.listen()),
                self.tasks.helper("the inspector", self._inspector.listen),
            ]
            try:
                await self._start()
                if not self._stop.done():
                    self._say_what_counts(left)
                    with self._announcement.made(reloads):
                        await self._dispatcher.quarantine.open()
                        await self._stop
            finally:
                await self._finish(listening)
        finally:
            await self._journal.close()
        self._tell(Stopped())

    async def _start(self) -> None:
        """Return when deliveries can come and be handled, or a signal does."""
        starting = {asyncio.ensure_future(self._workers.start()): f"loading {self._names}"}
        if self._keeper:
            opening = asyncio.ensure_future(self._open(self._keeper))
            starting[opening] = f"opening the {self._keeper.name} tunnel"
        loop = asyncio.get_running_loop()
        for task, what in starting.items():
            loop.call_later(LONG, self._say_if_pending, task, f"still {what} …")
        pending: set[asyncio.Future[Any]] = set(starting)
        try:
            while pending and not self._stop.done():
                await asyncio.wait({*pending, self._stop}, return_when=asyncio.FIRST_COMPLETED)
                for done in [each for each in pending if each.done()]:
                    pending.remove(done)
                    done.result()
        finally:
            for each in pending:
                each.cancel()

    async def _open(self, keeper: Keeper) -> None:
        must_open = self._settings.names_a_tunnel
        try:
            await keeper.start(must_open)
        except TunnelError as error:
            if must_open:
                raise
            self._keeper = self._announcement.keeper = None  # and trying again is no use
            self._tell(Failed(error))

    def _say_if_pending(self, task: "asyncio.Future[None]", text: str) -> None:
        if not task.done():
            self._tell(Note(text))

    def _say_what_counts(self, left: Sequence[str]) -> None:
        """Say what becomes of what an earlier run has left at these endpoints, and of secrets."""
        here = {endpoint.name for endpoint in self._service.endpoints}
        orphans = [endpoint for endpoint in left if endpoint not in here]
        if number := len(left) - len(orphans):
            self._tell(Note(f"handling {_count(number)} that the last run did not finish."))
        if orphans:
            names = ", ".join(sorted(set(orphans)))
            kept = _count(len(orphans))
            self._tell(Note(f"kept for an endpoint that is not here ({names}): {kept}."))
        in_force = [secret for each in self._service.endpoints for secret in each.secrets]
        for note in advice(os.environ, in_force):
            self._tell(Note(note))

    async def _finish(self, listening: "Sequence[asyncio.Task[None]]") -> None:
        self._gateway.stop()
        self._listener.stop()
        self._inspector.stop()
        error = self._journal.condition.error
        has_failed = self._journal.condition.state == "failed"
        grace = 0.0 if has_failed and not isinstance(error, JournalFault) else self._settings.grace
        if (number := len(self._dispatcher.attempts.running)) and grace:
            handlers = "a handler" if number == 1 else f"{number} handlers"
            within = f"{self._settings.grace:g} s; Ctrl-C again stops at once."
            self._tell(Note(f"{handlers} may run for {within}"))
        deadline = time.monotonic() + grace
        await self._dispatcher.drain(grace)
        public, own = listening
        await asyncio.wait({public})
        await asyncio.wait({own}, timeout=2 * LONG)  # after a fault it waits to begin again
        self._listener.close()
        self._inspector.close()
        if self._keeper:
            await self._keeper.stop()
        leaving = asyncio.ensure_future(self._workers.stop(deadline - time.monotonic()))
        await asyncio.wait({leaving}, timeout=LONG)
        if not leaving.done():
            text = "background tasks are still running; Ctrl-C again stops at once."
            self._tell(Note(text))
        await leaving
        await self._dispatcher.outcomes.settle()
        await self.tasks.close()

    async def _gauges(self) -> Gauges:
        counts = await self._journal.counts()
        waiting = sum(number for (_, status), number in counts.items() if status in UNFINISHED)
        keeper = self._keeper
        return Gauges(
            waiting,
            self._dispatcher.has_worker,
            keeper.name if keeper else None,
            keeper is not None and keeper.is_up,
            [(*each.named, each.duration) for each in self._dispatcher.attempts.long],
        )

    def _url_changed(self) -> None:
        self._gateway.reached_at(self._announcement.local_url, self._announcement.public_url)

    def _condition_changed(self, condition: Condition) -> None:
        self._gateway.journal_became(condition)
        error = condition.error
        if isinstance(error, JournalFault):
            self.tasks.fail(Fault("the journal", error.error))
        elif condition.state == "failed" and error:
            self._journal.stopping()
            settle(self._stop, error)

    def _end(self, fault: Fault) -> None:
        self._journal.stopping()
        self._gateway.stop()
        settle(self._stop, fault)

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Hear of what nobody else has heard of."""
        if error := context.get("exception"):
            is_ours = context.keys() == {"message", "exception"}  # a loop says which handle it was
            part = context["message"] if is_ours else "the event loop"
            self._tell(Failed(Fault(part, error)))
        else:
            loop.default_exception_handler(context)


def _count(number: int) -> str:
    return "a delivery" if number == 1 else f"{number} deliveries"
