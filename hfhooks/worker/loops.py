"""Event loops that handlers are called on: one, and others while it is blocked.

Scripts call `requests` and `time.sleep` in `async def` handlers. While one does, nothing else runs
on its loop. So a thread looks at the loops, and when all stand still starts another one, which
takes what comes, and what had come and was not begun. When the first one goes on it gets everything
back: objects of a script may belong to it. An endpoint may block a few of them; its other
deliveries then wait for one of these, so that there is one for the others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import current_thread
from time import monotonic
from typing import TypeAlias

from hfhooks.model.delivery import Claim
from hfhooks.model.ending import Ending
from hfhooks.script.registry import Registry
from hfhooks.worker.leftovers import Leftovers
from hfhooks.worker.turning import LONGEST_HOLD, LOOK_EVERY, MOST_LOOPS, TurningLoop, Watch

__all__ = ["Answered", "Call", "Loops"]

CHECK_EVERY = 0.01
"""Seconds between two looks whether all is over."""
Answered: TypeAlias = Callable[[Ending], None]
Call: TypeAlias = Callable[[Claim, str | None, Answered], Awaitable[None]]
"""Calls a handler, and returns when all that it left to be done is done too."""


@dataclass(eq=False, slots=True)
class _Attempt:
    claim: Claim
    secret: str | None
    answered: Answered
    loop: TurningLoop
    """Where it is to begin."""
    task: "asyncio.Task[None] | None" = None


class Loops:
    """Calls handlers, by `call`, on whichever loop turns.

    `prepare` is called on each loop before anything else. `on_blocked` hears, in a thread, what
    blocks a loop, once, and whether no more loops can be had; `on_look` is called there after each
    look at them. `on_fault` hears of a call that cannot be answered, or of a loop that has ended;
    `on_active` is called on the thread of the loop that is to hear what comes.
    """

    def __init__(
        self,
        call: Call,
        registry: Registry,
        *,
        prepare: Callable[[], None],
        on_blocked: Callable[[str, bool], None],
        on_fault: Callable[[BaseException], None],
        on_active: Callable[[asyncio.AbstractEventLoop], None] = lambda _: None,
        on_look: Callable[[], None] = lambda: None,
        most_loops: int = MOST_LOOPS,
        longest_hold: float = LONGEST_HOLD,
    ) -> None:
        self._call, self._on_look = call, on_look
        self._prepare, self._on_fault, self._on_active = prepare, on_fault, on_active
        self._waiting: set[_Attempt] = set()
        """Those that no loop has begun: who takes one out begins it, and nobody else."""
        self._attempts: dict[int, _Attempt] = {}
        """Those that are not over, by delivery."""
        turning, looked = self._begin_to_turn, self._looked
        self._watch = Watch(
            registry, on_blocked, on_fault, turning, looked, most_loops, longest_hold
        )
        self._active: TurningLoop | None = None
        """The one that hears what comes."""
        self._stopped = asyncio.Event()
        self._leftovers: Leftovers | None = None

    @property
    def has_more(self) -> bool:
        """Something has come that is about to begin."""
        return bool(self._waiting)

    async def serve(self, say_left: Callable[[list[str]], None]) -> None:
        """Call handlers on this loop, and on others when it is blocked, until told to stop.

        Returns when all that was begun is over, and what handlers have left behind; `say_left`
        hears what that is.
        """
        self._leftovers = leftovers = Leftovers(lambda: [loop.loop for loop in self._watch.all])
        self._watch.begin(asyncio.get_running_loop())
        await self._stopped.wait()
        while self._waiting or any(loop.tasks for loop in self._watch.all):
            await asyncio.sleep(CHECK_EVERY)
        await leftovers.wait(say_left)
        await self._watch.end()

    def stop(self) -> None:
        """End when all that has come is over. May be called in any thread."""
        if self._active:
            with suppress(RuntimeError):  # it is over
                self._watch.first.loop.call_soon_threadsafe(self._stopped.set)
        else:
            self._stopped.set()

    def take(self, claim: Claim, secret: str | None, answered: Answered) -> None:
        """Call a handler as soon as a loop turns; `answered` may be called in any thread."""
        loops = self._watch.loops
        loop = loops[0] if len(loops) == 1 else self._loop_for(claim.delivery.endpoint)
        attempt = _Attempt(claim, secret, answered, loop)
        self._attempts[claim.id] = attempt
        self._waiting.add(attempt)
        self._schedule(attempt)

    def cancel(self, id: int) -> None:
        """End a call, unless it has a thread, which goes on. May be called in any thread."""
        attempt = self._attempts.get(id)
        if attempt and attempt.task:
            with suppress(RuntimeError):  # its loop is closed: the process is about to end
                attempt.loop.loop.call_soon_threadsafe(attempt.task.cancel)

    def _loop_for(self, endpoint: str) -> TurningLoop:
        """Return the loop that a handler is to be called on.

        Where its endpoint blocks one, it waits there for a while: on the next one it would do the
        same to that.
        """
        return self._watch.held_by(endpoint) or self._watch.active

    def _schedule(self, attempt: _Attempt) -> None:
        if attempt.loop.thread is current_thread():
            self._start(attempt, attempt.loop)
        else:
            with suppress(RuntimeError):  # its loop is closed: another one gets it
                attempt.loop.loop.call_soon_threadsafe(self._start, attempt, attempt.loop)

    def _start(self, attempt: _Attempt, loop: TurningLoop) -> None:
        if loop.has_ended:  # another one gets it
            return
        task = loop.loop.create_task(self._run(attempt))
        loop.tasks[task] = attempt.claim.delivery.endpoint
        attempt.task = task
        task.add_done_callback(partial(self._ended, attempt, loop))

    def _ended(self, attempt: _Attempt, loop: TurningLoop, task: "asyncio.Task[None]") -> None:
        del loop.tasks[task]
        if self._attempts.get(attempt.claim.id) is attempt and attempt.task is task:
            del self._attempts[attempt.claim.id]
        if not task.cancelled() and (error := task.exception()):
            self._on_fault(error)

    async def _run(self, attempt: _Attempt) -> None:
        try:
            self._waiting.remove(attempt)
        except KeyError:  # another loop has begun it
            return
        await self._call(attempt.claim, attempt.secret, attempt.answered)

    def _begin_to_turn(self, loop: TurningLoop) -> None:
        """Be called on a loop's own thread when it begins."""
        self._prepare()
        if self._leftovers:
            self._leftovers.note_timers(loop.loop)
        self._turn(loop)
        if loop is self._watch.active:
            self._hear(loop)

    def _turn(self, loop: TurningLoop) -> None:
        """Note that a loop turns, again and again, and let one that is not needed come to rest."""
        loop.turned_at = monotonic()
        if self._watch.is_needed(loop):
            loop.loop.call_later(LOOK_EVERY, self._turn, loop)
        else:
            loop.has_ended = True
            loop.loop.stop()

    def _hear(self, loop: TurningLoop) -> None:
        self._active = loop
        self._on_active(loop.loop)

    def _looked(self) -> None:
        """Have begun on the active loop, and heard by it, what waits on one that is blocked."""
        self._on_look()
        active = self._watch.active
        if active is not self._active:
            active.loop.call_soon_threadsafe(self._hear, active)
        moved = [
            attempt
            for attempt in self._waiting.copy()
            if attempt.loop is not active and _must_move(attempt, self._watch)
        ]
        for attempt in sorted(moved, key=lambda attempt: attempt.claim.id):
            attempt.loop = self._loop_for(attempt.claim.delivery.endpoint)
            self._schedule(attempt)


def _must_move(attempt: _Attempt, watch: Watch) -> bool:
    """Tell whether an attempt would wait in vain, or too long, where it is to begin."""
    if attempt.loop.has_ended:
        return True
    endpoint = attempt.claim.delivery.endpoint
    is_its_own = attempt.loop.blocker == endpoint
    return attempt.loop.is_blocked and not (is_its_own and watch.held_by(endpoint))
