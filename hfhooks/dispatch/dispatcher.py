"""Due delivery → worker → outcome."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hfhooks.dispatch.attempts import LONG, Attempts, Running, Worker
from hfhooks.dispatch.lanes import Lanes
from hfhooks.dispatch.outcomes import Outcomes, cut_off
from hfhooks.dispatch.quarantine import Quarantine
from hfhooks.errors import Fault, JournalError
from hfhooks.journal import Journal
from hfhooks.model.delivery import UNFINISHED, Claim, Stored, Wanted
from hfhooks.model.ending import failed_by
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Happening, Note
from hfhooks.model.host import Sender
from hfhooks.tasks import Tasks

__all__ = ["Dispatcher"]

HEARTBEAT = 20.0
"""Seconds between two signs of life; a third of a lease."""
AGAIN_AFTER = 1.0
"""Seconds after which is tried again what the journal did not take."""
MOST_LEFT = 1_000_000


class Dispatcher:
    """Hands due deliveries to the worker, in turn, and has recorded what comes of them.

    It is the `Host` of a gateway in the same process. `again_after` says when is tried again what
    the journal did not take; `clock` goes on, `now` is in seconds since 1970.
    """

    def __init__(
        self,
        journal: Journal,
        tell: Callable[[Happening], None],
        tasks: Tasks,
        *,
        again_after: float = AGAIN_AFTER,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._journal, self._tell = journal, tell
        self._tasks, self._again_after = tasks, again_after
        self._now, self._clock = now, clock
        self._worker: Worker | None = None
        self._lanes = Lanes()
        self.outcomes = Outcomes(
            journal,
            tell,
            tasks,
            lambda id: self.attempts.over(id),
            again_after=again_after,
            chance=chance,
        )
        self.attempts = Attempts(self.outcomes.ended, self._left)
        self.quarantine = Quarantine(
            journal,
            tasks,
            tell,
            room=self._lanes.room,
            begin=self._begin,
            shared=lambda: self._ready_worker,
            is_idle=lambda: not self._lanes.running,
            ended=lambda: self._changed.set(),
        )
        self._changed = asyncio.Event()
        self._is_short = True
        """There may be deliveries that wait for room alone."""
        self._late: list[Claim] = []
        """Those of deliveries whose last attempt still runs, though it was given up."""
        self._is_draining = False
        journal.when_due(self._changed.set)

    @property
    def has_worker(self) -> bool:
        return self._worker is not None and self._worker.takes_more

    async def start(self) -> Sequence[str]:
        """Take on what an earlier run has left; return the endpoint of each of these deliveries.

        Raises `JournalError`.
        """
        left = await self._journal.list(Wanted(statuses=UNFINISHED, limit=MOST_LEFT))
        self.outcomes.left = {each.id for each in left}
        pending = Wanted(pending_after=True, limit=MOST_LEFT)
        cut_off(self.outcomes, await self._journal.list(pending))
        self._lanes.left(Counter(each.endpoint for each in left if each.status == "queued"))
        self._tasks.core("dispatching", self._dispatch())
        self._tasks.core("the heartbeat", _live(self._journal, self.attempts, self._tell))
        return [each.endpoint for each in left]

    def use(self, worker: Worker, endpoints: Iterable[Endpoint]) -> None:
        """Have handlers called there from now on; an earlier worker may finish what it runs."""
        self._worker = worker
        self._lanes.use(endpoints)
        self.quarantine.changed()
        self._changed.set()

    def lose(self) -> None:
        """Begin nothing more: the worker is gone."""
        self._worker = None

    def expect(self, endpoint: str) -> "Turn":
        """Keep a turn for a delivery until it has arrived."""
        takes, answer_in = self._lanes.expect(endpoint, self._clock())
        can_take = takes and self._ready_worker is not None
        return Turn(self, endpoint, takes, can_take, answer_in)

    def arrived(self, turn: "Turn", stored: Stored | None, sender: Sender | None) -> None:
        """Take on what was recorded: call its handler, or let it wait."""
        waits = stored is not None and stored.status == "queued"
        self._lanes.arrived(turn.endpoint, self._clock(), was_taken=turn.has_place, waits=waits)
        if turn.has_place and self._is_short:
            self._changed.set()
        if stored is None or stored.status not in UNFINISHED:
            return
        self.outcomes.came(stored.id, sender)
        claim = stored.claim
        if claim and not self._begin(claim, self._ready_worker, has_waited=False):
            self._give_back([claim])

    def _give_back(self, claims: Sequence[Claim]) -> None:
        self._late = [claim for claim in self._late if claim not in claims]
        if claims:
            self._tasks.one("giving back", _give_back(self._journal, claims))

    async def cancel(self, ids: Sequence[int]) -> Sequence[int]:
        """End deliveries that wait or run; return the ids of those that did. Raises `JournalError`.

        What a handler that runs comes to concerns nobody any more.
        """
        wanted = Wanted(ids=ids, statuses=UNFINISHED, limit=len(ids))
        found = await self._journal.list(wanted)
        running = self.attempts.cancel({each.id for each in found})
        await self._journal.flush()  # that these have ended comes first
        others = set(await self._journal.cancel(wanted))
        self.attempts.cancel(others)  # those that have begun meanwhile
        self.outcomes.cancelled(others)
        waited = [each for each in found if each.id in others and each.status == "queued"]
        self._lanes.cancelled(Counter(each.endpoint for each in waited))
        return sorted({*running, *others})

    async def drain(self, grace: float) -> None:
        """Give running handlers this many seconds; what is left stays in the journal."""
        self._is_draining = True
        self.quarantine.stop()
        self.outcomes.give_up_waiting({running.claim.id for running in self.attempts.running})
        deadline = self._clock() + grace
        await self.attempts.drain(max(grace, 0.0))
        self.outcomes.give_up_waiting()
        await self.outcomes.written(deadline - self._clock())
        if self._late:
            with suppress(TimeoutError):  # it is away: the next start finds them
                async with asyncio.timeout(self._again_after):
                    await _give_back(self._journal, self._late)
        self._worker = None

    @property
    def _ready_worker(self) -> Worker | None:
        """Where handlers may be called now: what begins on one that is gone counts as crashed."""
        return self._worker if self.has_worker and not self._is_draining else None

    async def _dispatch(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            with suppress(JournalError):  # whoever minds its condition does what is to be done
                while await self._begin_some():
                    pass
                if self._ready_worker:
                    await self.quarantine.look()
            self._is_short = self._worker is None or self._lanes.is_short()

    async def _begin_some(self) -> bool:
        """Begin what is due and has room; tell whether there may be more of it."""
        room = self._lanes.room()
        if not room or self._ready_worker is None:
            return False
        claims = await self._journal.claim(room)
        late = [claim for claim in claims if not self._begin(claim, self._ready_worker)]
        if late:  # the worker was lost, or changed, at this very moment
            await _give_back(self._journal, late)
        return len(late) < len(claims)

    def _begin(self, claim: Claim, worker: Worker | None, *, has_waited: bool = True) -> bool:
        """Call a handler there; tell whether that can be done now."""
        endpoint = self._lanes.endpoint(claim.delivery.endpoint)
        if self.attempts.goes_on(claim.id):
            self._late.append(claim)
            return True
        if worker is None or endpoint is None or not worker.takes_more or self._is_draining:
            return False
        running = Running(claim, endpoint, worker, self._now())
        self._lanes.begun(claim, self._clock(), has_waited=has_waited)
        try:
            self.attempts.begin(running)
        except Exception as error:  # noqa: BLE001 # of this delivery alone
            fault = Fault("calling a handler", error)
            self._tasks.report(fault)
            self.attempts.leave(running, failed_by(fault))
        return True

    def _left(self, running: Running) -> None:
        self._lanes.ended(running.claim, self._clock(), running.duration)
        self.quarantine.left(running.claim.id)
        if self._late:
            self._give_back([claim for claim in self._late if claim.id == running.claim.id])
        if self._is_short:
            self._changed.set()


async def _live(journal: Journal, attempts: Attempts, tell: Callable[[Happening], None]) -> None:
    """Say now and then that this host is alive, and once of a handler that it runs for long."""
    while True:
        await asyncio.sleep(HEARTBEAT)
        for running in attempts.long:
            if not running.is_long:
                running.is_long = True
                endpoint, id = running.named
                tell(Note(f"{endpoint} #{id} has been running for {LONG / 60:g} min."))
        with suppress(JournalError):  # it is away: the next time
            await journal.extend()


async def _give_back(journal: Journal, claims: Sequence[Claim]) -> None:
    with suppress(JournalError):  # they are found when their lease has run out
        await journal.release(claims)


@dataclass(slots=True)
class Turn:
    """A place that is kept for a delivery."""

    dispatcher: Dispatcher
    endpoint: str
    has_place: bool
    """A place among the handlers that run is kept for it."""
    takes: bool
    """Its handler can be called at once."""
    answer_in: float
    """Seconds in which its handler will have answered, as far as the last ones tell."""

    def arrived(self, stored: Stored | None, sender: Sender | None = None) -> None:
        """Hand over what was recorded, with its sender if one waits; None if nothing was."""
        self.dispatcher.arrived(self, stored, sender)
