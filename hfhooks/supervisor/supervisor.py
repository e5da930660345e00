"""Starts, watches, replaces and stops the worker."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Protocol

from hfhooks.dispatch.client import WorkerClient
from hfhooks.errors import HfhooksError, LoadError, UsageError
from hfhooks.http.passage import Site
from hfhooks.model.endpoint import Endpoint
from hfhooks.supervisor.child import Child, WorkerDied
from hfhooks.supervisor.spawn import WorkerProcess
from hfhooks.supervisor.watcher import Watcher
from hfhooks.worker.loading import Target, check_syntax

__all__ = ["Observer", "Supervisor"]

LIVED_WELL = 10.0
"""Seconds after which a worker's death counts as the first."""
LONGEST_PAUSE = 5.0
"""Seconds between two starts of a worker that dies again and again."""
PING_EVERY = 5.0
"""Seconds between two questions whether the worker is alive."""
MOST_SILENCE = 6
"""Questions in a row without an answer after which it is not."""
SPARES = 2
"""Workers that stand by, so that of two quick saves both are quick."""
LONGEST_WARM_UP = 10.0
"""Seconds after which a cold worker must do."""
SPARES_AFTER = 0.05
"""Seconds after a load before spares warm up: they would take the processor from it."""
HALF_SAVED = 0.12
"""Seconds in which the rest of a file may come that seems broken."""
LONG_LOAD = 5.0
"""Seconds after which a person wonders what a script is doing."""
LONGEST_LOAD = 30.0
"""Seconds after which a new version is given up, unless the last good one took a third of that."""
CHECK_AFTER = 1.0
"""Seconds after a load at which the files are looked at again."""


class Observer(Protocol):
    """Who is told what becomes of workers."""

    def on_ready(
        self,
        client: WorkerClient,
        endpoints: list[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        """A worker takes deliveries from now on, instead of the one before.

        `site` is what it serves beside the endpoints.
        `reloaded_in` is set when it has a new version of the scripts: how many seconds ago they
        were changed.
        """

    def on_broken(self, error: HfhooksError) -> None:
        """The scripts cannot be loaded as they are now; an earlier version may go on."""

    def on_lost(self, reason: str) -> None:
        """No worker takes deliveries."""

    def on_late_failure(self, id: int, number: int, error: str) -> None:
        """What this attempt at a delivery left to be done after its answer has failed."""

    def on_blocked(
        self, client: WorkerClient, endpoint: str | None, why: str | None, begun: list[str]
    ) -> None:
        """The handler of an endpoint blocks an event loop of this worker.

        Nothing more is begun on that loop. `why` says what it does, once; `begun` are the attempts
        that the worker has begun.
        """

    def on_trouble(self, text: str) -> None:
        """Something else that a person should know."""


class Supervisor:
    """Keeps a worker running for as long as it is used, and with `reload` its newest version.

    `find` returns what is to be loaded now; `process` is the first to load it. With `reload`,
    `folders` are those in which scripts may appear, and `watched` files and folders that matter
    beside the scripts. `grace` is how many seconds a worker that was replaced may take for what it
    has begun. If `verbose`, what is wrong with a script is told with the frames of libraries.
    """

    def __init__(
        self,
        find: Callable[[], list[Target]],
        observer: Observer,
        process: WorkerProcess,
        *,
        reload: bool = False,
        folders: Sequence[Path] = (),
        watched: Sequence[Path] = (),
        grace: float = 15.0,
        ping_every: float = PING_EVERY,
        verbose: bool = False,
    ) -> None:
        self._find = find
        self._process = process
        self._observer = observer
        self._reload = reload
        self._folders, self._watched = folders, watched
        self._grace = grace
        self._ping_every = ping_every
        self._verbose = verbose
        self._worker: Child | None = None
        self._loading: Child | None = None
        self._spares: list[Child] = []
        self._wanted = asyncio.Event()
        """A worker must be loaded: there is none, or the scripts have changed."""
        self._wants_spares = asyncio.Event()
        self._warmed = asyncio.Event()
        self._changed: set[Path] = set()
        """Files whose content no worker has."""
        self._changed_at = 0.0
        """When the first of them changed, in monotonic time."""
        self._names: set[str] = set()
        """The endpoints that there are."""
        self._shown = ""
        """The error that was said last."""
        self._longest_load = LONGEST_LOAD
        self._pause = 0.0
        """Seconds before the next start of a worker, after one that died at once."""
        self._watcher = Watcher(self._on_change)
        self._first: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guard: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load the scripts and keep a worker running with them.

        Returns when one takes deliveries. Raises `HfhooksError` when they cannot be loaded and
        `reload` does not wait for a better version.
        """
        self._spares.append(Child(self._process))
        self._first = asyncio.get_running_loop().create_future()
        if self._reload:
            self._watch()
            self._tasks.add(asyncio.create_task(self._keep_spares()))
        self._wanted.set()
        self._tasks.add(asyncio.create_task(self._load_when_wanted()))
        await self._first

    @property
    def _has_started(self) -> bool:
        """A worker has been loaded once."""
        return self._first is not None and self._first.done()

    def replace(self) -> None:
        """End the worker, which is no use any more, and start another."""
        if self._worker:
            self._worker.kill()

    async def stop(self, grace: float) -> None:
        """End all workers; the background tasks of handlers get this many seconds."""
        self._watcher.close()
        for task in (*self._tasks, *([self._guard] if self._guard else [])):
            task.cancel()
        useless = [*self._spares, *([self._loading] if self._loading else [])]
        for child in useless:
            child.kill()
        if self._worker:
            self._let_leave(self._worker, grace)
        await asyncio.gather(*self._leaving, *(child.ended() for child in useless))

    def _watch(self) -> None:
        self._watcher.watch(target.file for target in self._find() if target.file)
        for folder in self._folders:
            self._watcher.watch_folder(folder)
        for path in self._watched:
            if path.is_dir():
                self._watcher.watch_tree(path)
            else:
                self._watcher.watch([path])

    def _on_change(self, files: list[Path]) -> None:
        if not self._changed:
            self._changed_at = time.monotonic()
        self._changed.update(files)
        self._wanted.set()

    async def _load_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._load()
            except Exception as error:  # noqa: BLE001 # whatever it is, somebody waits
                await self._fail(error)
            finally:
                if self._loading:
                    self._note_files(self._loading)
                    self._loading.kill()
                    self._loading = None
                self._wants_spares.set()

    async def _load(self) -> None:
        """Put a worker with the scripts as they are now in the place of the one there is.

        Does nothing when they change meanwhile. Raises `HfhooksError` when they cannot be loaded.
        """
        if self._changed:
            await self._wait_for_spare()
        self._wanted.clear()  # what is saved from here on is another version
        started = time.monotonic()
        targets = self._find()
        if self._changed:
            await asyncio.to_thread(check_syntax, targets, list(self._changed))
        try:
            endpoints = await self._endpoints_of(targets)
        except WorkerDied:
            if not self._changed:
                raise
            # A spare may have been killed just now; what the script does to it, it does again.
            endpoints = await self._endpoints_of(targets)
        if endpoints is None or (self._lacks_some(endpoints) and await self._more_comes()):
            return
        child, self._loading = self._loading, None
        assert child
        self._longest_load = max(LONGEST_LOAD, 3 * (time.monotonic() - started))
        self._swap(child, endpoints)
        self._note_files(child)

    async def _endpoints_of(self, targets: list[Target]) -> list[Endpoint] | None:
        """Let a spare load the scripts; None if they change meanwhile. Raises `HfhooksError`."""
        self._loading = self._take_spare()
        loading = asyncio.ensure_future(self._loading.load(targets, self._verbose))
        changing = asyncio.ensure_future(self._wanted.wait())
        limit = self._longest_load if self._worker else inf
        waited = 0.0
        try:
            while not (loading.done() or changing.done()):
                if waited and self._has_started:
                    self._observer.on_trouble(f"still loading the new {targets[0].label} …")
                if waited >= limit:
                    what = f"{targets[0].label}: not loaded after {waited:.0f} s, so given up."
                    raise LoadError(what, file=targets[0].file)
                both: set[asyncio.Future[Any]] = {loading, changing}
                await asyncio.wait(both, timeout=LONG_LOAD, return_when=asyncio.FIRST_COMPLETED)
                waited += LONG_LOAD
            return None if changing.done() else loading.result()
        finally:
            loading.cancel()
            changing.cancel()

    def _lacks_some(self, endpoints: list[Endpoint]) -> bool:
        """Tell whether an endpoint has vanished, as where a script is saved in two parts."""
        return bool(self._names - {endpoint.name for endpoint in endpoints})

    async def _more_comes(self) -> bool:
        """Wait whether the rest of a file is still being written."""
        if not self._changed:
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), HALF_SAVED)
        return self._wanted.is_set()

    def _swap(self, child: Child, endpoints: list[Endpoint]) -> None:
        old, self._worker = self._worker, child
        self._names = {endpoint.name for endpoint in endpoints}
        is_new = bool(self._changed) and self._has_started
        duration = time.monotonic() - self._changed_at if is_new else None
        self._changed.clear()
        self._shown = ""
        child.on_late_failure = self._observer.on_late_failure
        child.on_blocked = partial(self._observer.on_blocked, child.client)
        self._observer.on_ready(child.client, endpoints, child.site, duration)
        if self._guard:
            self._guard.cancel()
        self._guard = asyncio.create_task(self._replace_when_lost(child))
        if old:
            self._let_leave(old, self._grace)
        if self._first and not self._first.done():
            self._first.set_result(None)

    def _let_leave(self, child: Child, grace: float) -> None:
        leaving = asyncio.create_task(child.stop(grace))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _note_files(self, child: Child) -> None:
        """Watch what a worker has loaded, or has tried to."""
        if self._reload:
            self._watcher.takes_new_scripts = child is not self._worker
            self._watcher.watch(child.files, child.read_at)
            asyncio.get_running_loop().call_later(CHECK_AFTER, self._watcher.check)

    async def _fail(self, error: Exception) -> None:
        if await self._more_comes():
            return
        self._changed.clear()
        explained = _explained(error)
        if self._first and not (self._first.done() or self._reload):
            self._first.set_exception(explained)
            return
        if str(error) != self._shown:
            self._shown = str(error)
            self._observer.on_broken(explained)
        if self._has_started and self._worker is None:
            self._pause = _longer(self._pause)
            asyncio.get_running_loop().call_later(self._pause, self._wanted.set)

    async def _replace_when_lost(self, child: Child) -> None:
        started = time.monotonic()
        ending = await self._ending(child)
        self._worker = None
        self._observer.on_lost(f"the worker {ending}; starting another.")
        lived_well = time.monotonic() - started > LIVED_WELL
        self._pause = 0.0 if lived_well else _longer(self._pause)
        await asyncio.sleep(self._pause)
        if self._loading is None:
            self._wanted.set()

    async def _ending(self, child: Child) -> str:
        """Return how a worker ended, after ending it if it hangs."""
        ended = asyncio.ensure_future(child.ended())
        asking = asyncio.ensure_future(self._ask(child))
        try:
            await asyncio.wait({ended, asking}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            child.kill()
            await ended
            return f"did not answer for {MOST_SILENCE * self._ping_every:g} s"
        finally:
            ended.cancel()
            asking.cancel()

    async def _ask(self, child: Child) -> None:
        """Ask a worker again and again whether it is alive; return when it is not."""
        silence = 0
        while silence < MOST_SILENCE:
            child.ping()
            await asyncio.sleep(self._ping_every)
            silence = 0 if child.is_alive else silence + 1

    async def _wait_for_spare(self) -> None:
        """Wait until one is warm: a cold one would be started in vain where saves come fast."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WARM_UP):
                while self._warm_spare() is None:
                    self._warmed.clear()
                    self._wants_spares.set()
                    await self._warmed.wait()

    def _warm_spare(self) -> Child | None:
        self._spares = [spare for spare in self._spares if not spare.is_gone]
        return next((spare for spare in self._spares if spare.is_warm.is_set()), None)

    def _take_spare(self) -> Child:
        """Return a worker to load into, a warm one if there is one."""
        spare = self._warm_spare() or next(iter(self._spares), None)
        if spare is None:
            return Child(WorkerProcess())
        self._spares.remove(spare)
        return spare

    async def _keep_spares(self) -> None:
        """Let workers stand by, one warming up at a time, and none while scripts are loaded."""
        while True:
            await self._wants_spares.wait()
            self._wants_spares.clear()
            while len(self._spares) < SPARES:
                await asyncio.sleep(SPARES_AFTER)
                if self._loading is None:
                    await self._add_spare()

    async def _add_spare(self) -> None:
        try:
            spare = Child(WorkerProcess())
        except OSError:  # no memory, no room: what runs matters more
            await asyncio.sleep(LONGEST_PAUSE)
            return
        self._spares.append(spare)
        with suppress(UsageError):
            spare.warm_up(self._find())
        mourning = asyncio.create_task(self._mourn(spare))
        self._tasks.add(mourning)
        mourning.add_done_callback(self._tasks.discard)
        warm = asyncio.ensure_future(spare.is_warm.wait())
        await asyncio.wait({warm, mourning}, return_when=asyncio.FIRST_COMPLETED)
        warm.cancel()
        self._warmed.set()

    async def _mourn(self, spare: Child) -> None:
        """Have another spare when one has ended that was not used."""
        await spare.ended()
        if spare in self._spares:
            self._spares.remove(spare)
            await asyncio.sleep(SPARES_AFTER)
            self._wants_spares.set()


def _explained(error: Exception) -> HfhooksError:
    if isinstance(error, HfhooksError):
        return error
    if isinstance(error, OSError | RuntimeError):  # no memory, no room, no thread
        return LoadError(str(error))
    return LoadError(f"a fault in hfhooks: {type(error).__name__}: {error}.")


def _longer(pause: float) -> float:
    return min(2 * pause + 0.1, LONGEST_PAUSE)
