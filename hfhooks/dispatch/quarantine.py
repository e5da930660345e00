"""What ran when a process died runs again alone, so that the next death has a name."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeAlias

from hfhooks.dispatch.attempts import Worker
from hfhooks.errors import HfhooksError, JournalError
from hfhooks.journal import Journal
from hfhooks.model.delivery import Claim
from hfhooks.model.happenings import Finished, Happening, Note
from hfhooks.tasks import Tasks

__all__ = ["Isolated", "Quarantine"]

AGAIN_AFTER = 1.0
"""Seconds after which is begun again where it has not gone well: what was short may be there."""
Isolated: TypeAlias = Callable[[], AbstractAsyncContextManager[Worker]]
"""Gives a worker of its own, with what is served now. Raises `HfhooksError` where it cannot."""


class Quarantine:
    """Runs suspects one at a time, in a worker of their own.

    `isolated` gives it; where all handlers run in this process there is none. Where it cannot be
    loaded, as two may not fit into a GPU, that counts against nobody: the suspect waits until
    `shared`, the worker that all others use, has nothing to do. `room` says how many handlers of
    each endpoint may be called, `begin` has one called and tells whether it could be; `ended` is
    called when there is nobody in quarantine any more.
    """

    def __init__(
        self,
        journal: Journal,
        tasks: Tasks,
        tell: Callable[[Happening], None],
        *,
        room: Callable[[], Mapping[str, int]],
        begin: Callable[[Claim, Worker], bool],
        shared: Callable[[], Worker | None],
        is_idle: Callable[[], bool],
        ended: Callable[[], None],
    ) -> None:
        self.isolated: Isolated | None = None
        self._journal, self._tasks = journal, tasks
        self._tell, self._room, self._begin = tell, room, begin
        self._shared, self._is_idle, self._ended = shared, is_idle, ended
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        """A handler runs no more, or there is another worker."""
        self._is_open = False
        self._running: int | None = None
        """The suspect that is run."""
        self._pause = 0.0
        """Seconds before the next ones."""
        self._has_said = False

    async def open(self) -> None:
        """Tell what has ended the last server too often, and begin from now on.

        Others are served first, as a suspect may end this one too.
        """
        with suppress(JournalError):
            for id in self._journal.given_up:
                delivery, attempts = await self._journal.get(id), await self._journal.attempts(id)
                if delivery and attempts:
                    told = Finished(id, delivery, attempts[-1], "failed", is_recovered=True)
                    self._tell(told)
        self._is_open = True
        self._ended()

    async def look(self) -> None:
        """Begin with suspects, if there are some and nobody does already."""
        if self._is_open and self._task is None and await self._journal.has_suspect(self._room()):
            self._task = self._tasks.one("the quarantine", self._run())
            self._task.add_done_callback(self._done)

    def left(self, id: int) -> None:
        """Hear that the handler of a delivery runs no more."""
        if self._task:
            if id == self._running:
                self._running = None
            self.changed()

    def changed(self) -> None:
        """Hear that there is another worker."""
        self._changed.set()

    def stop(self) -> None:
        """Begin nothing more."""
        if self._task:
            self._task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        asyncio.get_running_loop().call_later(self._pause, self._over)

    def _over(self) -> None:
        self._task = None
        self._ended()

    async def _run(self) -> None:
        self._pause = AGAIN_AFTER
        with suppress(JournalError):  # whoever minds its condition does what is to be done
            try:
                if self.isolated is None:
                    await self._run_in_shared()
                    self._pause = 0.0
                    return
                async with self.isolated() as worker:
                    current = self._shared()
                    while await self._run_one(worker) and self._shared() is current:
                        pass
                    self._pause = 0.0 if worker.takes_more else AGAIN_AFTER
            except HfhooksError as error:
                if isinstance(error, JournalError):
                    raise
                self._say(error)
                await self._run_in_shared()

    async def _run_one(self, worker: Worker) -> bool:
        """Run the next suspect; tell whether there may be another for this worker."""
        claims = await self._journal.claim(self._room(), in_quarantine=True)
        for claim in claims:
            self._running = claim.id
            if not self._begin(claim, worker):
                self._running = None
                await self._journal.release(claims)
                return False
            while self._running is not None:
                self._changed.clear()
                await self._changed.wait()
        return bool(claims) and worker.takes_more

    async def _run_in_shared(self) -> None:
        """Wait until nothing runs, then run the next suspect beside what comes."""
        while (worker := self._shared()) is None or not self._is_idle():
            self._changed.clear()
            await self._changed.wait()
        await self._run_one(worker)

    def _say(self, error: HfhooksError) -> None:
        if not self._has_said:
            self._has_said = True
            self._tell(
                Note(
                    "what ran when a worker died runs again when nothing else does, as no second "
                    f"worker can be had: {error}"
                )
            )
