"""Keeps a tunnel open, and its public URL true."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

from hfhooks.errors import CredentialsError, Fault, HfhooksError, TunnelError
from hfhooks.model.happenings import Progress
from hfhooks.model.values import public_url
from hfhooks.tasks import Tasks, in_thread
from hfhooks.tunnels.tunnel import Gone, Moved, Tunnel

__all__ = ["Keeper"]

ANSWERS_WITHIN = 30.0
"""Seconds in which something must come through a tunnel that was opened: names take a while."""
RECOVERS_WITHIN = 60.0
"""Seconds after which one that is down is closed and opened, whatever it tries by itself."""
LIVED_WELL = 10.0
"""Seconds of use after which the loss of a tunnel counts as the first."""
AGAIN_AFTER = 1.0
"""Seconds after which the keeper is told to stop again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 60.0
"""Seconds between two tries; each is about twice the one before."""


def _why_not(url: str) -> str | None:
    """Ask for a URL; see `probe.why_not`, whose imports most servers do without."""
    from hfhooks.tunnels.probe import why_not

    return why_not(url)


class Keeper:
    """Opens a tunnel, looks whether it leads to us, and opens it again when it is lost.

    `path` is one that only this server answers with 204. `up` hears at what URL what is sent
    arrives here; `down` by which one, the last there was, nothing arrives, and why; `progress`
    what is being done meanwhile.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        local_url: str,
        path: str,
        tasks: Tasks,
        *,
        up: Callable[[str], None],
        down: Callable[[str | None, str], None],
        progress: Callable[[Progress], None],
        answers_within: float = ANSWERS_WITHIN,
        recovers_within: float = RECOVERS_WITHIN,
        first_pause: float = FIRST_PAUSE,
        probe: Callable[[str], str | None] = _why_not,
    ) -> None:
        self.name = tunnel.name
        self.url: str | None = None
        """The public URL, once there is one; it may be down."""
        self.is_up = False
        self._tunnel = tunnel
        self._local_url = local_url
        self._path = path
        self._tasks = tasks
        self._up, self._down, self._progress = up, down, progress
        self._answers_within, self._recovers_within = answers_within, recovers_within
        self._first_pause = first_pause
        self._probe = probe
        self._is_stopping = False
        self._up_since = inf
        self._told: asyncio.Queue[str | TunnelError] = asyncio.Queue()
        """What the tunnel says of itself: where it leads from, or why it has ended."""
        self._first: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, must_open: bool) -> None:
        """Open the tunnel, and keep it open from then on.

        Returns when something has come through it. Where that fails it returns too, and goes on
        trying, unless it `must_open` or trying is no use: then it raises `TunnelError`.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._task = self._tasks.helper("the tunnel", partial(self._keep, must_open))
        await self._first

    async def stop(self) -> None:
        """Close the tunnel."""
        self._is_stopping = True
        # Being told once may be lost to what closing it raises.
        while self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=AGAIN_AFTER)

    def _hear(self, happening: Progress | Moved | Gone) -> None:
        match happening:
            case Moved(url):
                self._told.put_nowait(url)
            case Gone(why):
                self._told.put_nowait(TunnelError(why))
            case Progress():
                self._progress(happening)

    async def _keep(self, must_open: bool) -> None:
        failures = 0
        while True:
            self._told = asyncio.Queue()
            try:
                async with self._tunnel.open(self._local_url, self._hear) as url:
                    await self._watch(_checked(url))
            except Exception as error:  # noqa: BLE001 # whatever it is, somebody waits
                if self._is_stopping:
                    return
                if not isinstance(error, HfhooksError | OSError):
                    self._tasks.report(Fault("the tunnel", error))
                why = _explained(error)
                is_final = must_open or isinstance(why, CredentialsError)
                if is_final and not self._has_started:
                    self._settle(why)
                    return
                if self._now() > self._up_since + LIVED_WELL:
                    failures = 0
                self._say_down(str(why))
            failures += 1
            await asyncio.sleep(self._pause(failures))

    async def _watch(self, url: str) -> None:
        """Look whether the tunnel leads here, until it is lost, which raises `TunnelError`."""
        failures, failing_since, limit = 0, self._now(), self._answers_within
        if not self._tunnel.must_answer:
            self.url = url
        while True:
            why = await in_thread(self._probe, url + self._path)
            if why is None:
                failures, limit = 0, self._recovers_within
                self._say_up(url)
            else:
                failures += 1
                failing_since = failing_since if failures > 1 else self._now()
                why = f"{url} does not lead here: {why}."
                if self._tunnel.must_answer and self._now() > failing_since + limit:
                    raise TunnelError(why)
                # The first failure may be nothing. Before there was a success it is no loss.
                if failures > 1 and (self.is_up or not self._tunnel.must_answer):
                    self._say_down(why)
            url = await self._told_within(self._pause(failures)) or url

    async def _told_within(self, seconds: float) -> str | None:
        """Return a URL the tunnel says it has now, if it does in so many seconds."""
        told = None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # `wait_for` may lose a cancellation before 3.12
                told = await self._told.get()
        if isinstance(told, TunnelError):
            raise told
        return told and _checked(told)

    def _pause(self, failures: int) -> float:
        if failures == 0:
            return self._tunnel.probe_every
        longest = min(LONGEST_PAUSE, self._tunnel.probe_every)
        pause = min(self._first_pause * 2.0 ** min(failures - 1, 30), longest)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 # no secret

    def _say_up(self, url: str) -> None:
        try:
            if not self.is_up or url != self.url:
                self.url, self.is_up, self._up_since = url, True, self._now()
                self._up(url)
        finally:
            self._settle()

    def _say_down(self, why: str) -> None:
        try:
            if self.is_up or not self._has_started:
                self.is_up, self._up_since = False, inf
                self._down(self.url, why)
        finally:
            self._settle()

    @property
    def _has_started(self) -> bool:
        return self._first is not None and self._first.done()

    def _settle(self, error: TunnelError | None = None) -> None:
        if self._first is None or self._first.done():
            return
        if error:
            self._first.set_exception(error)
        else:
            self._first.set_result(None)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _checked(url: str) -> str:
    """Return a URL that a tunnel says it has. Raises `TunnelError` for anything else."""
    try:
        return public_url(url)
    except ValueError as error:
        raise TunnelError(f"{url!r} is what it says for a URL: {error}.") from error


def _explained(error: Exception) -> TunnelError:
    if isinstance(error, TunnelError):
        return error
    return TunnelError(str(error) or type(error).__name__, getattr(error, "help", None))
