"""Workers that stand by: started, with all imported that the scripts begin with."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from hfhooks.errors import UsageError
from hfhooks.script.target import Target
from hfhooks.supervisor.child import Worker
from hfhooks.tasks import Tasks

__all__ = ["NUMBER", "Spares"]

NUMBER = 2
"""Workers that stand by once scripts are being changed, so that of two quick saves both are quick;
before that it is one."""
LONGEST_WARM_UP = 10.0
"""Seconds after which a cold worker must do."""
AFTER = 0.05
"""Seconds after a load before spares warm up: they would take the processor from it."""
WITHOUT_ROOM = 5.0
"""Seconds after which is tried again what the machine had no room for."""


class Spares:
    """Keeps workers that stand by; `spawn` starts one, `find` returns what they are to load."""

    def __init__(
        self,
        spawn: Callable[[], Worker],
        find: Callable[[], Sequence[Target]],
        tasks: Tasks,
    ) -> None:
        self._spawn, self._find = spawn, find
        self._tasks = tasks
        self.workers: list[Worker] = []
        """Those that stand by."""
        self.number = 1
        """How many there are to be."""
        self.need_fastapi = False
        """The scripts, as they were loaded last, have FastAPI imported."""
        self._wanted = asyncio.Event()
        self._warmed = asyncio.Event()
        self._is_loading = False
        self._keeping: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Have some from now on."""
        self._keeping = self._tasks.helper("the spares", self._keep)

    def add(self, worker: Worker) -> None:
        """Take on one that is there already."""
        self.workers.append(worker)

    def want(self, is_loading: bool = False) -> None:
        """Warm up as many as are missing, but none while scripts are loaded."""
        self._is_loading = is_loading
        self._wanted.set()

    def take(self) -> Worker:
        """Return a worker to load into, a warm one if there is one."""
        self._is_loading = True
        spare = self._warm() or next(iter(self.workers), None)
        if spare is None:
            return self._spawn()
        self.workers.remove(spare)
        return spare

    async def wait(self) -> None:
        """Wait until one is warm: a cold one would be started in vain where saves come fast."""
        self.number = NUMBER
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WARM_UP):
                while self._warm() is None:
                    self._warmed.clear()
                    self.want()
                    await self._warmed.wait()

    async def stop(self) -> None:
        """End all of them, and have no more."""
        if self._keeping:
            self._keeping.cancel()
        for spare in self.workers:
            spare.kill()
        await asyncio.gather(*(spare.ended() for spare in self.workers))

    def _warm(self) -> Worker | None:
        self.workers = [spare for spare in self.workers if not spare.is_gone]
        return next((spare for spare in self.workers if spare.is_warm.is_set()), None)

    async def _keep(self) -> None:
        """Start spares, one warming up at a time."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self.workers) < self.number and not self._is_loading:
                await asyncio.sleep(AFTER)
                if not self._is_loading:
                    await self._add_one()

    async def _add_one(self) -> None:
        try:
            spare = self._spawn()
        except OSError:  # no memory, no room: what runs matters more
            await asyncio.sleep(WITHOUT_ROOM)
            return
        self.workers.append(spare)
        mourning = self._tasks.one("a spare", self._mourn(spare))
        try:
            with suppress(UsageError):
                spare.warm_up(self._find(), self.need_fastapi)
        except Exception:
            spare.kill()  # or it would stand by for ever, and never be warm
            raise
        warm = asyncio.ensure_future(spare.is_warm.wait())
        await asyncio.wait({warm, mourning}, return_when=asyncio.FIRST_COMPLETED)
        if mourning.done() and not spare.is_gone:  # by a fault, of which others have heard
            await asyncio.wait({warm}, timeout=LONGEST_WARM_UP)
        warm.cancel()
        self._warmed.set()

    async def _mourn(self, spare: Worker) -> None:
        """Have another spare when one has ended that was not used."""
        await spare.ended()
        if spare in self.workers:
            self.workers.remove(spare)
            await asyncio.sleep(AFTER)
            self._wanted.set()
