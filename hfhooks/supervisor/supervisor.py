"""Starts, watches, replaces and stops the worker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Protocol

from hfhooks.errors import Fault, HfhooksError, LoadError
from hfhooks.http.passage import Site
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Broken, Happening, Note
from hfhooks.script.target import Target
from hfhooks.supervisor.child import Worker, WorkerDied
from hfhooks.supervisor.heartbeat import how_it_ends
from hfhooks.supervisor.leaving import Leaving
from hfhooks.supervisor.options import USUAL, Options
from hfhooks.supervisor.spares import Spares
from hfhooks.supervisor.spawn import Spawned
from hfhooks.supervisor.targets import check_syntax
from hfhooks.supervisor.watcher import Watcher
from hfhooks.tasks import Tasks

__all__ = ["Supervisor", "WorkHost"]

LIVED_WELL = 10.0
"""Seconds after which a worker's death counts as the first."""
LONGEST_PAUSE = 5.0
"""Seconds between two starts of a worker that dies again and again."""
HALF_SAVED = 0.12
"""Seconds in which the rest of a file may come that seems broken."""
HELD = (
    "a version before still runs handlers, and may hold what this one needs: it is tried again "
    "when that has left."
)
CHECK_AFTER = 1.0
"""Seconds after a load at which the files are looked at again."""


class WorkHost(Protocol):
    """Who has handlers called by the worker that there is."""

    def use(
        self,
        worker: Any,
        endpoints: Sequence[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        """Give the deliveries to this worker from now on, instead of the one before.

        `site` is what it serves beside the endpoints. `reloaded_in` is set when it has a new
        version of the scripts: how many seconds ago they were changed.
        """

    def lose(self) -> None:
        """Hold the deliveries: no worker takes them."""

    def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        """What this attempt left to be done after its answer is done, or has failed."""

    def tell(self, happening: Happening) -> None:
        """Tell the subscribers."""


@dataclass
class Change:
    """What was saved and is in no worker."""

    files: set[Path] = field(default_factory=set)
    at: float = 0.0
    """When the first of them was saved, in monotonic time."""

    def add(self, files: Sequence[Path]) -> None:
        if not self.files:
            self.at = time.monotonic()
        self.files.update(files)


class Supervisor:
    """Keeps a worker running for as long as it is used, and with `reload` its newest version.

    `find` returns what is to be loaded now; `process` is the first to load it.
    """

    def __init__(
        self,
        find: Callable[[], list[Target]],
        host: WorkHost,
        tasks: Tasks,
        process: Spawned,
        options: Options = USUAL,
    ) -> None:
        self._find = find
        self._process = process
        self._host, self._tasks = host, tasks
        self._options = options
        self.worker: Worker | None = None
        """The one that has the deliveries."""
        self.loading: Worker | None = None
        """The one that is to take its place."""
        self.spares = Spares(lambda: self._spawned(Spawned()), find, tasks)
        self._wanted = asyncio.Event()
        """A worker must be loaded: there is none, or the scripts have changed."""
        self._change = Change()
        self._names: set[str] = set()
        """The endpoints that there are."""
        self._shown = ""
        """The error that was said last."""
        self._longest_load = options.longest_load
        self._pause = 0.0
        """Seconds before the next start of a worker, after one that died at once."""
        self._watcher = Watcher(self._on_change, tasks)
        self._first: asyncio.Future[None] | None = None
        self._has_started = False
        """A worker has been loaded once."""
        self._loader: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None
        self._leaving = Leaving(tasks, host.tell, self._one_has_left, options.ping_every)
        """Those that have been replaced."""
        self._unloaded = Change()
        """What could not be loaded, maybe as one of these holds what it needs."""

    async def start(self) -> None:
        """Load the scripts and keep a worker running with them.

        Returns when one takes deliveries. Raises `HfhooksError` when they cannot be loaded and
        `reload` does not wait for a better version.
        """
        self.spares.add(self._spawned(self._process))
        self._first = asyncio.get_running_loop().create_future()
        if self._options.reload:
            files = [target.file for target in self._find() if target.file]
            self._watcher.watch_all(files, self._options.folders, self._options.watched)
            self.spares.keep()
        self._wanted.set()
        self._loader = self._tasks.core("loading", self._load_when_wanted())
        await self._first

    async def stop(self, grace: float) -> None:
        """End all workers; the background tasks of handlers get this many seconds."""
        self._watcher.close()
        if self._guard:
            self._guard.cancel()
        if self._loader:
            self._loader.cancel()
            await asyncio.wait({self._loader})  # or it would start another meanwhile
        if self.worker:
            self._leaving.end(self.worker, grace)
        await asyncio.gather(self.spares.stop(), self._leaving.stop(grace))

    @asynccontextmanager
    async def isolated(self) -> AsyncIterator[Worker]:
        """Give a worker of its own, with the scripts as they are now.

        Raises `HfhooksError` where it cannot load them.
        """
        worker = self.spares.take()
        try:
            async with asyncio.timeout(self._longest_load):
                await worker.load(self._find(), self._options.verbose)
        except BaseException as error:
            worker.kill()
            self._leaving.end(worker)
            if isinstance(error, TimeoutError):
                raise LoadError(f"not loaded after {self._longest_load:.0f} s.") from error
            raise
        finally:
            self.spares.want()
        watching = asyncio.ensure_future(how_it_ends(worker, self._options.ping_every))
        try:
            yield worker
        finally:
            watching.cancel()
            if worker.is_gone:
                self._host.tell(Note(f"the worker in quarantine {await worker.ended()}."))
            else:
                self._leaving.add(worker, "the worker in quarantine")

    def _spawned(self, process: Spawned) -> Worker:
        return Worker(process, self._host.amend, lambda text: self._host.tell(Note(text)))

    def _on_change(self, files: list[Path]) -> None:
        self._change.add(files)
        self._wanted.set()

    async def _load_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._load()
            except Exception as error:  # noqa: BLE001 # whatever it is, somebody waits
                await self._fail(error)
            finally:
                if self.loading:
                    self._note_files(self.loading)
                    self.loading.kill()
                    self._leaving.end(self.loading)
                    self.loading = None
                self.spares.want()

    async def _load(self) -> None:
        """Put a worker with the scripts as they are now in the place of the one there is.

        Does nothing when they change meanwhile. Raises `HfhooksError` when they cannot be loaded.
        """
        if self._change.files:
            await self.spares.wait()
        self._wanted.clear()  # what is saved from here on is another version
        started = time.monotonic()
        targets = self._find()
        if self._change.files:
            await asyncio.to_thread(check_syntax, targets, list(self._change.files))
        try:
            endpoints = await self._endpoints_of(targets)
        except WorkerDied:
            if not self._change.files:
                raise
            # A spare may have been killed just now; what the script does to it, it does again.
            endpoints = await self._endpoints_of(targets)
        if endpoints is None:
            return
        # An endpoint may have vanished because a script is saved in two parts.
        lacks_some = self._names - {endpoint.name for endpoint in endpoints}
        if lacks_some and await self._more_comes():
            return
        worker, self.loading = self.loading, None
        assert worker
        self._longest_load = max(self._options.longest_load, 3 * (time.monotonic() - started))
        self._swap(worker, endpoints)
        self._note_files(worker)

    async def _endpoints_of(self, targets: list[Target]) -> list[Endpoint] | None:
        """Have a spare load the scripts; None if they change meanwhile. Raises `HfhooksError`."""
        self.loading = self.spares.take()
        loading = asyncio.ensure_future(self.loading.load(targets, self._options.verbose))
        changing = asyncio.ensure_future(self._wanted.wait())
        limit = self._longest_load if self.worker else inf
        waited = 0.0
        try:
            while not (loading.done() or changing.done()):
                if waited and self._has_started:
                    self._host.tell(Note(f"still loading the new {targets[0].label} …"))
                if waited >= limit:
                    what = f"{targets[0].label}: not loaded after {waited:.0f} s, so given up."
                    raise LoadError(what, file=targets[0].file)
                both: set[asyncio.Future[Any]] = {loading, changing}
                step = self._options.long_load
                await asyncio.wait(both, timeout=step, return_when=asyncio.FIRST_COMPLETED)
                waited += step
            return None if changing.done() else loading.result()
        finally:
            loading.cancel()
            changing.cancel()

    async def _more_comes(self) -> bool:
        """Wait whether the rest of a file is still being written."""
        if not self._change.files:
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), HALF_SAVED)
        return self._wanted.is_set()

    def _swap(self, worker: Worker, endpoints: list[Endpoint]) -> None:
        old, self.worker = self.worker, worker
        self._names = {endpoint.name for endpoint in endpoints}
        is_new = bool(self._change.files) and self._has_started
        reloaded_in = time.monotonic() - self._change.at if is_new else None
        self._change = self._unloaded = Change()
        self._shown = ""
        self.spares.need_fastapi = worker.has_fastapi
        self._host.use(worker, endpoints, worker.site, reloaded_in)
        if self._guard:
            self._guard.cancel()
        self._guard = self._tasks.core("watching the worker", self._replace_when_lost(worker))
        if old:
            self._leaving.add(old, "the version before" if is_new else "the worker before")
        if self._first and not self._first.done():
            self._first.set_result(None)
            self._has_started = True

    def _one_has_left(self) -> None:
        if self._unloaded.files:
            self._change, self._unloaded = self._unloaded, Change()
            self._wanted.set()

    def _note_files(self, worker: Worker) -> None:
        """Watch what a worker has loaded, or has tried to."""
        if self._options.reload:
            self._watcher.takes_new_scripts = worker is not self.worker
            self._watcher.watch(worker.files, worker.read_at)
            asyncio.get_running_loop().call_later(CHECK_AFTER, self._watcher.check)

    async def _fail(self, error: Exception) -> None:
        if await self._more_comes():
            return
        self._unloaded, self._change = self._change, Change()
        explained = _explained(error)
        is_fault = isinstance(explained, Fault)
        if self._first and not self._first.done() and (is_fault or not self._options.reload):
            self._first.set_exception(explained)
            return
        if is_fault and self.worker is None:  # no better version will mend it
            raise error
        if str(error) != self._shown:
            self._shown = str(error)
            self._host.tell(Broken(explained, has_worker=self.worker is not None))
            if self._leaving.workers and self._unloaded.files:
                self._host.tell(Note(HELD))
        if self._has_started and self.worker is None:
            self._pause = _longer(self._pause)
            asyncio.get_running_loop().call_later(self._pause, self._wanted.set)

    async def _replace_when_lost(self, worker: Worker) -> None:
        started = time.monotonic()
        another = "; starting another"

        def replace() -> None:
            nonlocal another
            self._wanted.set()
            names = ", ".join(call.name for call in worker.asked.given_up)
            why = f", as {names} went on after it was given up" if names else ""
            begun = "while it ends what it has begun"
            self._host.tell(Note(f"the worker can take nothing more{why}{another}, {begun}."))
            another = ""

        how = await how_it_ends(worker, self._options.ping_every, replace)
        self.worker = None
        self._host.lose()
        self._host.tell(Note(f"the worker {how}{another}."))
        lived_well = time.monotonic() - started > LIVED_WELL
        self._pause = 0.0 if lived_well else _longer(self._pause)
        await asyncio.sleep(self._pause)
        if self.loading is None:
            self._wanted.set()


def _explained(error: Exception) -> HfhooksError:
    if isinstance(error, HfhooksError):
        return error
    if isinstance(error, OSError | RuntimeError):  # no memory, no room, no thread
        return LoadError(str(error))
    return Fault("loading", error)


def _longer(pause: float) -> float:
    return min(2 * pause + 0.1, LONGEST_PAUSE)
