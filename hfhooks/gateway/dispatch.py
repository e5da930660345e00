"""Due delivery → worker → outcome."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from hfhooks.endpoints import PREFIX
from hfhooks.gateway.client import Connection, Response, WorkerClient, WorkerGone
from hfhooks.gateway.journal import Attempt, Delivery, Journal
from hfhooks.wire import OWN_HEADERS

__all__ = ["Dispatcher", "Outcome"]

AT_ONCE = 16
"""Handlers of one endpoint that run at the same time."""
CONNECT_AGAIN = 0.05
"""Seconds after which a worker that accepts no connection is tried again."""
MOST_CRASHES = 3
"""A delivery whose handler ends its process this often is given up."""
# They belong to the sender's connection, not to the request.
HOP_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)


@dataclass(frozen=True)
class Outcome:
    """A delivery that is finished, with the attempt that finished it."""

    delivery: Delivery
    attempt: Attempt
    response: Response | None
    """None when the worker died."""


class Dispatcher:
    """Hands deliveries to the worker, in order of arrival, and records what comes of them."""

    def __init__(
        self,
        journal: Journal,
        on_outcome: Callable[[Outcome], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._on_outcome = on_outcome
        self._now = now
        self._worker: WorkerClient | None = None
        self._worker_ready = asyncio.Event()
        self._in_turn = asyncio.Lock()
        self._is_draining = False
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._running: set[asyncio.Task[Outcome]] = set()

    @property
    def has_worker(self) -> bool:
        return self._worker is not None

    @property
    def running(self) -> int:
        """How many handlers run now."""
        return len(self._running)

    def use(self, worker: WorkerClient | None) -> None:
        """Send deliveries to this worker from now on, or hold them while there is none."""
        if self._worker:
            self._worker.close()
        self._worker = worker
        if worker:
            self._worker_ready.set()
        else:
            self._worker_ready.clear()

    def submit(self, delivery: Delivery) -> "asyncio.Task[Outcome]":
        """Start on a recorded delivery; the task ends when the delivery is finished.

        It is cancelled where that must wait for another start of the server.
        """
        task = asyncio.create_task(self._finish(delivery))
        if self._is_draining:
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, grace: float) -> None:
        """Give running handlers this many seconds; what is left stays in the journal."""
        self._is_draining = True
        for task in self._tasks - self._running:
            task.cancel()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace)
            for task in late:
                task.cancel()
        self.use(None)

    async def _finish(self, delivery: Delivery) -> Outcome:
        async with self._slots[delivery.endpoint]:
            outcome = None
            while outcome is None:
                async with self._in_turn:
                    connection = await self._connection()
                with self._is_running():
                    delivery = self._journal.claim(delivery, self._now())
                    outcome = await self._attempt(delivery, connection)
        self._on_outcome(outcome)
        return outcome

    async def _connection(self) -> Connection:
        """Return a connection to the worker, waiting until there is a worker that accepts one.

        A worker may be dead for a moment before anybody says so; that is no attempt yet.
        """
        while True:
            await self._worker_ready.wait()
            assert self._worker is not None
            try:
                return await self._worker.connect()
            except WorkerGone:
                await asyncio.sleep(CONNECT_AGAIN)

    async def _attempt(self, delivery: Delivery, connection: Connection) -> Outcome | None:
        """Call the handler once; None when its process died and it may be called again."""
        started_at, started = self._now(), time.perf_counter()
        response = None
        with suppress(WorkerGone):
            response = await connection.post(_target(delivery), _headers(delivery), delivery.body)
        attempt = _ended(delivery.attempts, started_at, time.perf_counter() - started, response)
        status = attempt.status
        if status == "interrupted":
            status = "failed" if attempt.number >= MOST_CRASHES else "queued"
        await self._journal.finish(delivery, attempt, status)
        if status == "queued":
            return None
        return Outcome(replace(delivery, status=status), attempt, response)

    @contextmanager
    def _is_running(self) -> Iterator[None]:
        task: Any = asyncio.current_task()
        self._running.add(task)
        try:
            yield
        finally:
            self._running.discard(task)


def _target(delivery: Delivery) -> str:
    return PREFIX + delivery.endpoint + (f"?{delivery.query}" if delivery.query else "")


def _headers(delivery: Delivery) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in delivery.headers
        if name not in HOP_HEADERS and not name.startswith(OWN_HEADERS)
    ]


def _ended(number: int, started_at: float, duration: float, response: Response | None) -> Attempt:
    if response is None:
        error = "The worker process died while this handler ran."
        return Attempt(number, started_at, duration, "interrupted", error=error)
    status = "succeeded" if response.status < 400 else "failed"
    if response.outcome is None:
        return Attempt(number, started_at, duration, status, response.status, response.body)
    error = response.body.decode(errors="replace")
    return Attempt(number, started_at, duration, status, response.status, error=error)
