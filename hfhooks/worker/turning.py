"""Loops that turn, and a thread that looks whether they do."""

import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from threading import Event, Thread, current_thread
from time import monotonic
from types import FrameType

from hfhooks.errors import place
from hfhooks.script.registry import Registry
from hfhooks.tasks import new_event_loop
from hfhooks.tracebacks import is_users

__all__ = ["LONGEST_HOLD", "LOOK_EVERY", "MOST_BLOCKED", "MOST_LOOPS", "TurningLoop", "Watch"]

LOOP = (__name__.partition(".")[0], "__main__", "asyncio", "runpy", "selectors", "threading")
"""Packages, and modules, that are on the stack of an event loop which has nothing to do."""
LOOK_EVERY = 0.1
"""Seconds between two looks at the loops."""
LONGEST_PAUSE = 30.0
"""Seconds between two of them after faults of ours; each time twice as long."""
STILL = 0.5
"""Seconds after which a loop that does not turn is blocked."""
LONGEST_HOLD = 10.0
"""Seconds after which the other deliveries of an endpoint that blocks a loop are begun."""
MOST_BLOCKED = 4
"""Loops that one endpoint may block."""
MOST_LOOPS = 64
"""Loops, those included that are retired and have something to do."""
log = logging.getLogger(__name__)


@dataclass(eq=False)
class TurningLoop:
    """An event loop, in this thread unless it has its own."""

    loop: asyncio.AbstractEventLoop
    thread: Thread = field(default_factory=current_thread)
    turned_at: float = field(default_factory=monotonic)
    """When it turned the last time, in monotonic time."""
    blocked_at: float | None = None
    """When it was found to be blocked, if it is."""
    blocker: str | None = None
    """The endpoint that blocks it, if that is known."""
    tasks: dict["asyncio.Task[None]", str] = field(default_factory=dict)
    """The calls of handlers that are going on, with their endpoints."""
    is_retired: bool = False
    has_ended: bool = False
    """It turns no more: nothing can begin there."""

    @property
    def frame(self) -> FrameType | None:
        """What its thread is doing now."""
        return sys._current_frames().get(self.thread.ident or 0)

    @property
    def is_blocked(self) -> bool:
        return self.blocked_at is not None


class Watch:
    """A thread that looks at the loops, starts another where all are blocked, and retires it.

    `on_blocked` hears, in that thread, what blocks a loop, once, and whether it was one too many:
    there are `most_loops` at most. Deliveries of an endpoint that blocks one are held for
    `longest_hold` seconds, and as long as it blocks `MOST_BLOCKED` of them. `on_fault` hears what
    has ended another loop, in its thread; `begin_to_turn` is called on the thread of each loop when
    it begins, and `looked` in that of the watch after each look.
    """

    def __init__(
        self,
        registry: Registry,
        on_blocked: Callable[[str, bool], None],
        on_fault: Callable[[BaseException], None],
        begin_to_turn: Callable[[TurningLoop], None],
        looked: Callable[[], None],
        most_loops: int,
        longest_hold: float,
    ) -> None:
        self.loops: list[TurningLoop] = []
        """Those that handlers may be called on, the first one first."""
        self._registry = registry
        self._on_blocked, self._on_fault = on_blocked, on_fault
        self._begin_to_turn, self._looked = begin_to_turn, looked
        self._most_loops, self._longest_hold = most_loops, longest_hold
        self._is_worn_out = False
        self._retired: list[TurningLoop] = []
        self._said: set[str] = set()
        self._has_ended = Event()
        self._thread = Thread(target=self._watch, name="hfhooks-watch", daemon=True)

    @property
    def first(self) -> TurningLoop:
        return self.loops[0]

    @property
    def all(self) -> list[TurningLoop]:
        return [*self.loops, *self._retired]

    @property
    def active(self) -> TurningLoop:
        """The loop that turns, or the last one where none does."""
        return next((loop for loop in self.loops if not loop.is_blocked), self.loops[-1])

    def held_by(self, endpoint: str) -> TurningLoop | None:
        """Return the loop that deliveries of an endpoint wait for, which blocks it, if they do."""
        blocked = [loop for loop in self.loops if loop.blocker == endpoint]
        latest = max((loop.blocked_at or 0.0 for loop in blocked), default=-inf)
        is_held = len(blocked) >= MOST_BLOCKED or monotonic() - latest < self._longest_hold
        return blocked[-1] if is_held else None

    def begin(self, first: asyncio.AbstractEventLoop) -> None:
        """Look at this loop, which is that of this thread, and at those that come."""
        self.loops.append(TurningLoop(first))
        self._begin_to_turn(self.first)
        self._thread.start()

    async def end(self) -> None:
        """Look no more, and end all loops but the first one."""
        self._has_ended.set()
        await asyncio.to_thread(self._thread.join)
        for loop in self.all[1:]:
            await asyncio.to_thread(loop.thread.join)

    def is_needed(self, loop: TurningLoop) -> bool:
        """Tell whether a loop is to turn on."""
        is_over = loop.is_retired and not asyncio.all_tasks(loop.loop)
        return loop is self.first or not (is_over or self._has_ended.is_set())

    def _watch(self) -> None:
        before, pause = monotonic(), LOOK_EVERY
        while not self._has_ended.wait(pause):
            now = monotonic()
            # Where this thread stood still too, it was the machine, or something has the GIL.
            if now - before < pause + 2 * LOOK_EVERY:
                try:
                    self._look(now)
                    pause = LOOK_EVERY
                except Exception:
                    log.exception("a fault in watching the event loops:")
                    pause = min(2 * pause, LONGEST_PAUSE)
            before = now

    def _look(self, now: float) -> None:
        for loop in self.loops:
            is_still = now - loop.turned_at > STILL and not _rests(loop.frame)
            if is_still and not loop.is_blocked:
                loop.blocker, where = self._blocker(loop)
                loop.blocked_at = now
                self._say(loop.blocker, where)
            elif not is_still:
                loop.blocked_at = loop.blocker = None
        self._retired = [loop for loop in self._retired if loop.thread.is_alive()]
        if all(loop.is_blocked for loop in self.loops):
            self._add()
        elif not self.first.is_blocked:
            # What is blocked stays, so that is known how many loops an endpoint blocks.
            self._retire([loop for loop in self.loops[1:] if not loop.is_blocked])
        self._looked()

    def _add(self) -> None:
        """Start another loop, or say that there can be none."""
        why = ""
        if len(self.all) < self._most_loops:
            try:
                self.loops.append(self._another())
            except (OSError, RuntimeError) as error:  # no files, no threads
                why = f" ({error})"
            else:
                return
        if not self._is_worn_out:
            self._is_worn_out = True
            names = sorted({loop.blocker for loop in self.loops if loop.blocker})
            by = f" by {', '.join(names)}" if names else ""
            what = f"all event loops are blocked{by}, and no more of them can be had{why}"
            self._on_blocked(f"{what}: until one goes on, no handler begins in this worker.", True)

    def _another(self) -> TurningLoop:
        """Start a loop in a thread of its own."""
        loop = TurningLoop(new_event_loop())

        def turn() -> None:
            asyncio.set_event_loop(loop.loop)
            try:
                loop.loop.run_forever()
            except BaseException as error:  # noqa: BLE001 # what it had begun is lost
                self._on_fault(error)
            finally:
                loop.loop.run_until_complete(loop.loop.shutdown_asyncgens())
                loop.loop.close()

        loop.thread = Thread(target=turn, name="hfhooks-loop", daemon=True)
        loop.loop.call_soon(self._begin_to_turn, loop)
        try:
            loop.thread.start()
        except RuntimeError:
            loop.loop.close()
            raise
        return loop

    def _retire(self, loops: list[TurningLoop]) -> None:
        """End loops when what they have begun is over; what handlers left there goes on."""
        for loop in loops:
            loop.is_retired = True
            self.loops.remove(loop)
            self._retired.append(loop)

    def _say(self, endpoint: str | None, where: str | None) -> None:
        """Say once what blocks a loop."""
        what = endpoint or where or "something that the script does"
        if what in self._said:
            return
        self._said.add(what)
        at = f" ({where})" if endpoint and where else ""
        self._on_blocked(
            f"{what}{at} blocks the event loop; the other handlers go on beside it. A handler "
            "that waits or computes without `await` should be `def`: it then runs in a thread.",
            False,
        )

    def _blocker(self, loop: TurningLoop) -> tuple[str | None, str | None]:
        """Return the endpoint that blocks a loop, and the innermost place that is the user's.

        It may do so by its handler, or by what goes with a call of that: dependencies, background
        tasks.
        """
        names = {each.code: each.endpoint.name for each in self._registry.registrations.values()}
        task = asyncio.current_task(loop.loop)
        name = loop.tasks.get(task) if task else None
        where, frame = None, loop.frame
        while frame:
            if where is None and is_users(frame.f_code.co_filename):
                where = place(frame.f_code.co_filename, frame.f_lineno)
            name = name or names.get(frame.f_code)
            frame = frame.f_back
        return name, where


def _rests(frame: FrameType | None) -> bool:
    """Tell whether a thread is in no code but that of its event loop: the machine is slow."""
    while frame:
        is_loops = frame.f_globals.get("__name__", "").partition(".")[0] in LOOP
        # In a notebook `__main__` is the user's.
        if not is_loops or is_users(frame.f_code.co_filename):
            return False
        frame = frame.f_back
    return True
