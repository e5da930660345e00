"""Workers that another has replaced: each goes on until what it has begun has ended."""

import asyncio
from collections.abc import Callable
from math import inf

from hfhooks.model.happenings import Note
from hfhooks.supervisor.child import Worker
from hfhooks.supervisor.heartbeat import how_it_ends
from hfhooks.tasks import Tasks

__all__ = ["Leaving"]

MOST = 4
"""Workers that may be leaving at once: each holds the memory of a version of the scripts."""
SOON = 1.0
"""Seconds in which most handlers end, so that nothing need be said of them."""


class Leaving:
    """Sees off workers, without a limit in time; `left` is called when one has ended."""

    def __init__(
        self,
        tasks: Tasks,
        note: Callable[[Note], None],
        left: Callable[[], None],
        ping_every: float,
    ) -> None:
        self._tasks, self._note, self._left = tasks, note, left
        self._ping_every = ping_every
        self._seen_off: dict[Worker, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Those that get no time any more."""

    @property
    def workers(self) -> list[Worker]:
        return list(self._seen_off)

    def add(self, worker: Worker, where: str) -> None:
        """Have a worker end when what it has begun is over, which may take for ever.

        `where` is what a person knows it by.
        """
        leaving = self._tasks.one("a worker that leaves", self._see_off(worker))
        self._seen_off[worker] = leaving
        leaving.add_done_callback(lambda _: self._seen_off.pop(worker, None))
        asyncio.get_running_loop().call_later(SOON, self._say, worker, where)
        while len(self._seen_off) > MOST:
            self._end_one()

    def end(self, worker: Worker, grace: float = 0.0) -> None:
        """End a worker; what it has begun gets this many seconds."""
        ending = self._tasks.one("the end of a worker", _end(worker, grace))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def stop(self, grace: float) -> None:
        """End all of them; what they have begun gets this many seconds."""
        for worker, leaving in list(self._seen_off.items()):
            leaving.cancel()
            self.end(worker, grace)
        await asyncio.gather(*self._ending, return_exceptions=True)  # whose faults are told

    async def _see_off(self, worker: Worker) -> None:
        ending = asyncio.ensure_future(how_it_ends(worker, self._ping_every))
        try:
            await worker.stop(inf)
        except Exception:
            worker.kill()
            raise
        finally:
            ending.cancel()
        if not worker.served.is_set():
            self._note(Note(f"an earlier worker {await worker.ended()}."))
        self._left()

    def _say(self, worker: Worker, where: str) -> None:
        """Say once what a worker still does, that another has replaced."""
        if worker not in self._seen_off:
            return
        if calls := worker.asked.going_on:
            still_run = "handler still runs" if len(calls) == 1 else "handlers still run"
            names = "; ".join(map(str, calls))
            self._note(Note(f"{len(calls)} {still_run} in {where}: {names}"))
        elif worker.left_behind:
            left = "; ".join(worker.left_behind)
            self._note(Note(f"{where} goes on with what handlers left behind: {left}"))

    def _end_one(self) -> None:
        """End the worker whose longest handler began last: what it loses is least."""
        latest = max(self._seen_off, key=_begun)
        ran = [*map(str, latest.asked.going_on), *latest.left_behind] or ["nothing that is known"]
        self._note(
            Note(f"too many earlier versions still run: one was ended, with {'; '.join(ran)}.")
        )
        self._seen_off.pop(latest).cancel()
        self.end(latest)


async def _end(worker: Worker, grace: float) -> None:
    try:
        await worker.stop(grace)
    finally:
        worker.kill()


def _begun(worker: Worker) -> float:
    return min((call.started for call in worker.asked.going_on), default=inf)
