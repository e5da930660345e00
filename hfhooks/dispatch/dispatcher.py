"""Due delivery → worker → outcome."""

import asyncio
import heapq
import random
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic_core import to_json

from hfhooks.dispatch.client import (
    Connection,
    Exhausted,
    Interrupted,
    NotBegun,
    Response,
    WorkerClient,
    WorkerGone,
)
from hfhooks.dispatch.verdict import Verdict, judge
from hfhooks.errors import JournalError, JournalFull
from hfhooks.journal.sqlite.journal import Journal, Unfinished
from hfhooks.journal.sqlite.records import Attempt, Delivery
from hfhooks.model.endpoint import PREFIX, Endpoint
from hfhooks.model.headers import ATTEMPT_HEADER, HOP_HEADERS, OWN_HEADERS, RAISED, SECRET_HEADER
from hfhooks.redact import redact

__all__ = ["Dispatcher", "Line", "Outcome", "Worker"]

CONNECT_AGAIN = 0.05
"""Seconds after which a worker that accepts no connection is tried again."""
ASK_AGAIN = 0.01
"""Seconds after which a request is repeated that was not begun."""
MOST_REFUSALS = 100
"""Connections in a row that a worker may refuse: its socket is gone, as from a folder cleaned."""
WRITE_AGAIN = 1.0
"""Seconds after which an outcome is written again that a full disk did not take."""
LONGEST_HOLD = 10.0
"""Seconds after which the other deliveries of an endpoint that blocks an event loop are begun."""
BURST = 24
"""Deliveries that arrive at once above which the sender's answer comes first."""
CALM = 0.05
"""Seconds after which such a burst is over."""
FEW = 2
"""Handlers that run during a burst."""
MOST_IN_MEMORY = 256
"""Waiting deliveries whose content is not read from the journal again when their turn comes."""


class Line(Protocol):
    """What takes one request to the worker."""

    async def post(self, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> Response:
        """Return the answer. Raises `WorkerGone`."""


L = TypeVar("L", bound=Line)


class Worker(Protocol[L]):
    """Where handlers run."""

    async def connect(self) -> L:
        """Return a line for one request. Raises `WorkerGone`."""

    def keep(self, line: L, /) -> None:
        """Take back one that was not used."""

    def close(self) -> None:
        """Begin nothing more."""

    def abort(self) -> None:
        """Give up on all answers."""


@dataclass(frozen=True)
class Outcome:
    """An attempt that ended, and what it made of its delivery."""

    delivery: Delivery
    attempt: Attempt
    response: Response | None
    """None when the worker died."""
    retry_after: float | None = None
    """Seconds until the next attempt, where there will be one."""
    is_recovered: bool = False
    """It is the first one of a delivery that an earlier server has left unfinished."""
    is_amended: bool = False
    """It was told before: what the handler left to be done after its answer has failed."""


@dataclass(order=True)
class _Job:
    """An unfinished delivery."""

    id: int
    endpoint: str = field(compare=False)
    delivery: Delivery | None = field(compare=False, default=None)
    """None where it must be read from the journal."""
    outcome: "asyncio.Future[Outcome | None] | None" = field(compare=False, default=None)
    """Of its first attempt, for the sender that may be waiting; None if that comes too late."""
    is_suspect: bool = field(compare=False, default=False)
    """The worker died while its handler ran."""
    is_recovered: bool = field(compare=False, default=False)
    """An earlier server has left it, and there was no attempt since."""
    has_raised: bool = field(compare=False, default=False)
    """Its handler raised something that is no `Retry`, the last time."""

    def tell(self, outcome: Outcome | None) -> None:
        """Tell the sender, if one still waits."""
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass
class _Lane:
    """What waits and what runs for one endpoint."""

    endpoint: Endpoint | None = None
    arriving: int = 0
    waiting: list[_Job] = field(default_factory=list)
    running: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """Its handler blocks no event loop."""

    def __post_init__(self) -> None:
        self.free.set()

    @property
    def room(self) -> int:
        """How many handlers may be started now."""
        if not (self.endpoint and self.free.is_set()):
            return 0
        return self.endpoint.max_concurrency - self.running


class Dispatcher:
    """Hands deliveries to the worker, in order of arrival, and records what comes of them."""

    def __init__(
        self,
        journal: Journal,
        on_outcome: Callable[[Outcome], None],
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.unfinished = 0
        """How many deliveries still want a handler."""
        self._arriving = 0
        self._burst: asyncio.TimerHandle | None = None
        """Set while there is one."""
        self.on_unreachable: Callable[[], None] = lambda: None
        """Called when the worker accepts no connections, though it has not ended."""
        self._journal = journal
        self._on_outcome = on_outcome
        self._now = now
        self._chance = chance
        self._worker: Worker[Any] | None = None
        self._lanes: dict[str, _Lane] = defaultdict(_Lane)
        self._suspects: list[_Job] = []
        self._suspects_running = 0
        self._attempts: dict[asyncio.Task[None], _Job] = {}
        self._asked: dict[str, Line] = {}
        """How the attempts that run have been asked for, as they are described."""
        self._amendments: set[asyncio.Task[None]] = set()
        self._retries: dict[int, tuple[asyncio.TimerHandle, _Job]] = {}
        """What waits for another attempt, and what makes it due."""
        self._changed = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._is_draining = False

    @property
    def has_worker(self) -> bool:
        return self._worker is not None

    @property
    def running(self) -> int:
        """How many handlers run now."""
        return sum(lane.running for lane in self._lanes.values())

    def expect(self, endpoint: str) -> bool:
        """Keep a turn for a delivery until it has `arrived`; False if it has to wait for one.

        While many arrive at once, few handlers are started beside.
        """
        lane = self._lanes[endpoint]
        has_turn = len(lane.waiting) + lane.arriving < lane.room
        lane.arriving += 1
        self._arriving += 1
        if self._arriving > BURST:
            self._calm_down()
        return has_turn

    def arrived(self, endpoint: str) -> None:
        """Give back the turn of a delivery that is submitted, or is not to be."""
        self._lanes[endpoint].arriving -= 1
        self._arriving -= 1

    def use(self, worker: Worker[Any], endpoints: Iterable[Endpoint]) -> None:
        """Send deliveries to this worker from now on; an earlier one may finish what it runs."""
        if self._worker and self._worker is not worker:
            self._worker.close()
        self._worker = worker
        known = {endpoint.name: endpoint for endpoint in endpoints}
        for name in {*self._lanes, *known}:
            self._lanes[name].endpoint = known.get(name)
            self._lanes[name].free.set()
        self._starting = self._starting or asyncio.create_task(self._start_handlers())
        self._changed.set()

    def retry_raised(self) -> int:
        """Make the deliveries due whose handler raised, as by a fault that is mended; count them.

        Those whose handler asked for a pause, by `Retry`, wait for its end.
        """
        raised = [job for _, job in self._retries.values() if job.has_raised]
        for job in raised:
            self._due(job)
        return len(raised)

    async def retry(self, id: int) -> bool:
        """Have a delivery handled again now, though it failed or waits; tell whether it may be.

        Raises `JournalError`.
        """
        if id in self._retries:
            self._due(self._retries[id][1])
            return True
        if not await self._journal.requeue(id):
            return False
        delivery = self._journal.get(id)
        if delivery:
            self._add(_Job(id, delivery.endpoint, is_suspect=delivery.crashes > 0))
        return delivery is not None

    def lose(self) -> None:
        """Hold deliveries, and take back what is running: the worker is gone."""
        for lane in self._lanes.values():
            lane.free.set()
        if self._worker:
            self._worker.abort()
        self._worker = None

    def submit(self, delivery: Delivery, wait: float) -> "asyncio.Future[Outcome | None]":
        """Take on a recorded delivery; return what will tell the outcome of its first attempt.

        That is None where there is none within `wait` seconds.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome | None] = loop.create_future()
        is_kept = self.unfinished < MOST_IN_MEMORY
        job = _Job(delivery.id, delivery.endpoint, delivery if is_kept else None, outcome)
        self._add(job)
        if wait > 0:
            too_late = loop.call_later(wait, job.tell, None)
            outcome.add_done_callback(lambda _: too_late.cancel())
        else:
            job.tell(None)
        return outcome

    def resume(self, left: Unfinished) -> None:
        """Take on a delivery that an earlier server did not finish."""
        self._add(_Job(left.id, left.endpoint, is_suspect=left.has_crashed, is_recovered=True))

    async def drain(self, grace: float) -> None:
        """Give running handlers this many seconds; what is left stays in the journal."""
        self._is_draining = True
        if self._starting:
            self._starting.cancel()
        if self._burst:
            self._burst.cancel()
        for timer, _ in self._retries.values():
            timer.cancel()
        for job in [
            *self._suspects,
            *(job for lane in self._lanes.values() for job in lane.waiting),
        ]:
            job.tell(None)
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=grace)
            for attempt in late:
                attempt.cancel()
                self._attempts[attempt].tell(None)
            await asyncio.gather(*late, return_exceptions=True)
        if self._worker:
            self._worker.close()
        self._worker = None

    def _add(self, job: _Job) -> None:
        self.unfinished += 1
        self._queue(job)

    def _queue(self, job: _Job) -> None:
        """Let a delivery wait for its turn, which is that of its arrival."""
        if self._is_draining:
            job.tell(None)
        elif job.is_suspect:
            self._suspects.append(job)
        else:
            heapq.heappush(self._lanes[job.endpoint].waiting, job)
        self._changed.set()

    def _calm_down(self) -> None:
        """Let the burst end when so many have not been arriving for a while."""
        if self._burst:
            self._burst.cancel()
        self._burst = None
        if self._arriving > BURST:
            self._burst = asyncio.get_running_loop().call_later(CALM, self._calm_down)
        else:
            self._changed.set()

    def _next(self) -> _Job | None:
        """Return the first delivery whose handler may start now.

        Suspects run one at a time: when the worker dies again, only one of them can be the cause.
        """
        if self._burst and self.running >= FEW:
            return None
        jobs = [lane.waiting[0] for lane in self._lanes.values() if lane.waiting and lane.room > 0]
        if not self._suspects_running:
            jobs += [job for job in self._suspects if self._lanes[job.endpoint].room > 0]
        return min(jobs, default=None)

    async def _start_handlers(self) -> None:
        refusals = 0
        with suppress(JournalError):  # the server ends by it
            while True:
                worker, job = self._worker, self._next()
                if worker is None or job is None:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                try:
                    # A worker may be dead for a moment before anybody says so, and what it was
                    # never asked is no attempt: so the connection comes first.
                    connection = await worker.connect()
                except WorkerGone as error:
                    refusals += not isinstance(error, Exhausted)
                    if refusals and refusals % MOST_REFUSALS == 0:
                        self.on_unreachable()
                    await asyncio.sleep(CONNECT_AGAIN)
                    continue
                refusals = 0
                if worker is self._worker and job is self._next():
                    self._start(job, connection)
                else:
                    worker.keep(connection)

    def _start(self, job: _Job, connection: Line) -> None:
        lane = self._lanes[job.endpoint]
        if job.is_suspect:
            self._suspects.remove(job)
        else:
            heapq.heappop(lane.waiting)
        delivery = job.delivery or self._journal.get(job.id)
        assert delivery and lane.endpoint
        delivery = self._journal.claim(delivery, self._now())
        attempt = asyncio.create_task(self._attempt(job, delivery, lane.endpoint, connection))
        self._attempts[attempt] = job
        attempt.add_done_callback(self._attempts.pop)
        lane.running += 1
        self._suspects_running += job.is_suspect

    async def _attempt(
        self, job: _Job, delivery: Delivery, endpoint: Endpoint, connection: Line
    ) -> None:
        """Call the handler and see to it that the outcome is recorded and told."""
        started_at, started = self._now(), time.perf_counter()
        response, is_interrupted = None, False
        try:
            response = await self._ask(connection, delivery, endpoint)
        except (Interrupted, asyncio.CancelledError):
            is_interrupted = True
        except WorkerGone:
            pass
        self._lanes[job.endpoint].running -= 1
        self._lanes[job.endpoint].free.set()
        self._suspects_running -= job.is_suspect
        self._changed.set()
        if is_interrupted:
            verdict = INTERRUPTED
        else:
            verdict = judge(delivery, response, endpoint.retries, self._chance())
        duration = time.perf_counter() - started
        attempt = _ended(delivery.attempts, started_at, duration, response, verdict)
        delivery = delivery.but(status=verdict.delivery)
        outcome = Outcome(delivery, attempt, response, verdict.retry_after, job.is_recovered)
        job.is_recovered = False
        if verdict.delivery != "queued":
            # Before it is on disk: what a sender was told may run again after a crash, not be lost.
            job.tell(outcome)
        with suppress(JournalError):  # the server ends by it
            if await self._keep(delivery, attempt, verdict):
                self._conclude(job, outcome)

    async def _ask(self, line: Line, delivery: Delivery, endpoint: Endpoint) -> Response:
        """Return the worker's answer, by another line where the first one is abandoned."""
        worker, attempt = self._worker, _described(delivery)
        headers = _headers(delivery, endpoint, attempt)
        try:
            while True:
                self._asked[attempt] = line
                try:
                    return await line.post(_target(delivery), headers, delivery.body)
                except NotBegun as error:
                    await self._lanes[delivery.endpoint].free.wait()
                    line = await self._another_line(worker, error)
        finally:
            del self._asked[attempt]

    async def _another_line(self, worker: Worker[Any] | None, error: NotBegun) -> Line:
        # The worker may know already what we shall hear in a moment.
        await asyncio.sleep(ASK_AGAIN)
        try:
            if worker and worker is self._worker:
                line: Line = await worker.connect()
                return line
        except WorkerGone:
            pass
        raise Interrupted("the handler was not called") from error

    def take_back(
        self, worker: WorkerClient, begun: Container[str], blocking: str | None = None
    ) -> None:
        """Ask a worker again, on new connections, for the attempts that it has not begun.

        Those at the endpoint that is `blocking` one of its event loops wait until a handler of
        it has ended: on the next loop they would do the same to that one.
        """
        if blocking is not None and self._lanes[blocking].running:
            self._hold(self._lanes[blocking])
        for attempt, line in self._asked.items():
            if attempt not in begun and isinstance(line, Connection) and worker.owns(line):
                line.fail(NotBegun("its event loop is blocked"))
                line.abort()

    def _hold(self, lane: _Lane) -> None:
        lane.free.clear()
        asyncio.get_running_loop().call_later(LONGEST_HOLD, self._release, lane)

    def _release(self, lane: _Lane) -> None:
        lane.free.set()
        self._changed.set()

    async def _keep(self, delivery: Delivery, attempt: Attempt, verdict: Verdict) -> bool:
        """Record how an attempt ended, when there is room for it."""
        due_at = None if verdict.retry_after is None else self._now() + verdict.retry_after
        while True:
            try:
                return await self._journal.finish(delivery, attempt, verdict.delivery, due_at)
            except JournalFull:
                if self._is_draining:  # the next start finds it as it was, and runs it again
                    raise
                await asyncio.sleep(WRITE_AGAIN)

    def _conclude(self, job: _Job, outcome: Outcome) -> None:
        job.delivery = None  # what changed is in the journal
        if outcome.delivery.status == "queued":
            job.is_suspect |= outcome.attempt.status == "crashed"
            self._queue(job)
            return
        if outcome.retry_after is None:
            self.unfinished -= 1
        else:
            job.has_raised = outcome.response is not None and outcome.response.outcome == RAISED
            loop = asyncio.get_running_loop()
            self._retries[job.id] = loop.call_later(outcome.retry_after, self._due, job), job
        self._on_outcome(outcome)

    def fail(self, id: int, number: int, error: str) -> None:
        """Record that what a handler left to be done after its answer has failed, and tell."""
        amendment = asyncio.create_task(self._fail(id, number, error))
        self._amendments.add(amendment)
        amendment.add_done_callback(self._amendments.discard)

    async def _fail(self, id: int, number: int, error: str) -> None:
        # The news of it may be faster than the answer.
        if attempts := [attempt for attempt, job in self._attempts.items() if job.id == id]:
            await asyncio.wait(attempts)
        with suppress(JournalError):  # the server ends by it
            await self._journal.fail(id, number, error)
            delivery = self._journal.get(id)
            attempt = next((a for a in self._journal.attempts(id) if a.number == number), None)
            if delivery and attempt:
                self._on_outcome(Outcome(delivery, attempt, None, is_amended=True))

    async def settle(self) -> None:
        """Return when all that is known is recorded."""
        await asyncio.gather(*self._amendments)

    def _due(self, job: _Job) -> None:
        timer, _ = self._retries.pop(job.id)
        timer.cancel()
        self._queue(job)


INTERRUPTED = Verdict("interrupted", "queued")
WHY = {
    "crashed": "The worker process died while this handler ran.",
    "interrupted": "The server was stopped, or the script reloaded, while this handler ran.",
}


def _target(delivery: Delivery) -> str:
    return PREFIX + delivery.endpoint + (f"?{delivery.query}" if delivery.query else "")


def _headers(delivery: Delivery, endpoint: Endpoint, attempt: str) -> list[tuple[str, str]]:
    """Return the sender's headers, what the handler may know of the delivery, and the secret.

    It is never recorded, but handlers that check it themselves want the current one on a retry.
    """
    headers = [
        (name, value)
        for name, value in delivery.headers
        if name not in HOP_HEADERS and not name.startswith(OWN_HEADERS)
    ]
    headers.append((ATTEMPT_HEADER, attempt))
    if endpoint.secrets and not any(name == SECRET_HEADER for name, _ in headers):
        headers.append((SECRET_HEADER, endpoint.secrets[0]))
    return headers


def _described(delivery: Delivery) -> str:
    described = {
        "id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "attempt": delivery.attempts,
        "is_replay": delivery.is_replay,
        "received_at": delivery.received_at,
    }
    return to_json(described).decode()


def _ended(
    number: int, started_at: float, duration: float, response: Response | None, verdict: Verdict
) -> Attempt:
    """Return an attempt as it may be recorded and shown."""
    common = (number, started_at, duration, verdict.attempt)
    if response is None:
        return Attempt(*common, error=WHY[verdict.attempt])
    if response.outcome is None:
        return Attempt(*common, response.status, redact(response.body))
    error = redact(response.body.decode(errors="replace"))
    return Attempt(*common, response.status, error=error)
