"""An `async def` handler that blocks its event loop holds up no other: another loop takes over.

Scripts call `requests` and `time.sleep` in `async def` handlers. While one does, nothing else runs
on its loop, not even what takes requests. So a thread looks at the loop, and when it stands still
starts a second one, which accepts at the same socket. What the first loop has begun stays there;
for what it has not the gateway asks again, over new connections. So that nothing is begun twice
each request tells its generation, and those from before the block are begun no more. When the first
loop goes on it gets everything back: objects of a script may belong to it.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock, Thread, current_thread
from time import monotonic
from types import FrameType
from typing import Any

from hfhooks.errors import place
from hfhooks.model.headers import ATTEMPT_HEADER, GENERATION_HEADER, NOT_BEGUN, OUTCOME_HEADER
from hfhooks.script.registry import Registry
from hfhooks.tasks import run
from hfhooks.tracebacks import is_users
from hfhooks.worker.listener import Listener

__all__ = ["Relief"]

LOOP = (__name__.partition(".")[0], "__main__", "asyncio", "runpy", "selectors", "threading")
"""Packages, and modules, that are on the stack of an event loop which has nothing to do."""
ATTEMPT, GENERATION = ATTEMPT_HEADER.encode(), GENERATION_HEADER.encode()
LOOK_EVERY = 0.1
"""Seconds between two looks at the loops."""
STILL = 0.5
"""Seconds after which a loop that does not turn is blocked."""
MOST_LOOPS = 16
REMEMBERED = 512
"""Attempts that ended and are still known to have begun: their answers may be on their way."""


class Relief:
    """An application that more than one event loop may serve; `listen` sees to it.

    `prepare` is called on each loop. `on_blocked` hears, in a thread, which endpoint blocks a loop,
    None if that is not known; how, None if that was said before; which attempts have begun; and how
    many times loops were blocked. `on_free` hears that the first loop turns again.
    """

    def __init__(
        self,
        app: Any,
        registry: Registry,
        *,
        prepare: Callable[[], None],
        on_blocked: Callable[[str | None, str | None, list[str], int], None],
        on_free: Callable[[], None],
    ) -> None:
        self._app = app
        self._registry = registry
        self._prepare = prepare
        self._on_blocked, self._on_free = on_blocked, on_free
        self._lock = Lock()
        self._generation = 0
        """How many times a loop was blocked."""
        self._running: set[str] = set()
        """Attempts that have begun, as the gateway describes them."""
        self._ended: deque[str] = deque(maxlen=REMEMBERED)
        self._loops: list[_Loop] = []
        self._retired: list[_Loop] = []
        self._said: set[str] = set()
        self._has_stopped = Event()

    async def listen(self, listener: Listener, wrap: Callable[[Any], Any]) -> None:
        """Serve on this loop, and on others when it is blocked, until the listener is stopped.

        `wrap` is what is put around this application for each.
        """
        self._wrap = wrap
        self._sock = listener.sock.dup()  # the listener closes its own
        self._loops.append(_Loop(listener))
        self._prepare()
        watching = Thread(target=self._watch, name="hfhooks-watch", daemon=True)
        watching.start()
        await listener.listen()
        self._has_stopped.set()
        await asyncio.to_thread(watching.join)
        for loop in (*self._loops[1:], *self._retired):
            loop.listener.stop()
            await asyncio.to_thread(loop.thread.join)
        self._sock.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        attempt = _header(scope, ATTEMPT)
        if not attempt:  # a page, which nobody asks for again
            await self._app(scope, receive, send)
            return
        if not self._begin(scope, attempt):
            headers = [(OUTCOME_HEADER.encode(), NOT_BEGUN.encode())]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body"})
            return
        try:
            await self._app(scope, receive, send)
        finally:
            with self._lock:
                self._running.discard(attempt)
                self._ended.append(attempt)

    def _begin(self, scope: Any, attempt: str) -> bool:
        """Note that a request is begun; False if the gateway asks, or will ask, for it again."""
        with self._lock:
            if self._generation and int(_header(scope, GENERATION) or 0) < self._generation:
                return False
            self._running.add(attempt)
            return True

    def _watch(self) -> None:
        before = monotonic()
        while not self._has_stopped.wait(LOOK_EVERY):
            now = monotonic()
            # Where this thread stood still too, it was the machine, or something has the GIL.
            if now - before < 3 * LOOK_EVERY:
                with suppress(OSError, RuntimeError):  # no files, no threads: the next time
                    self._look(now)
            before = now

    def _look(self, now: float) -> None:
        for loop in self._loops:
            is_blocked = now - loop.listener.turned_at > STILL and not _rests(loop.frame)
            if is_blocked and not loop.is_blocked:
                self._abandon(loop)
            loop.is_blocked = is_blocked
        if all(loop.is_blocked for loop in self._loops) and len(self._loops) < MOST_LOOPS:
            self._loops.append(self._another())
        elif len(self._loops) > 1 and not self._loops[0].is_blocked:
            self._retired = [loop for loop in self._retired if loop.thread.is_alive()]
            self._retired += self._loops[1:]
            for loop in self._loops[1:]:
                loop.listener.retire()
            del self._loops[1:]
            self._on_free()

    def _abandon(self, loop: "_Loop") -> None:
        """Begin nothing more that was asked for before, and tell what is begun."""
        with self._lock:
            self._generation += 1
            begun = [*self._running, *self._ended]
        endpoint, where = self._blocker(loop.frame)
        self._on_blocked(endpoint, self._explained(endpoint, where), begun, self._generation)

    def _another(self) -> "_Loop":
        """Start a loop that accepts beside the first one."""
        first = self._loops[0].listener
        listener = Listener(
            self._wrap(self), self._sock.dup(), self._prepare, is_plain=first.is_plain
        )
        serving = partial(run, self._serve(listener))
        thread = Thread(target=serving, name="hfhooks-relief", daemon=True)
        thread.start()
        return _Loop(listener, thread)

    async def _serve(self, listener: Listener) -> None:
        """Serve on this loop, and let what handlers have begun beside go on."""
        await listener.listen()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            if self._has_stopped.is_set():
                return
            await asyncio.wait(others, timeout=LOOK_EVERY)

    def _explained(self, endpoint: str | None, where: str | None) -> str | None:
        """Say once what blocks a loop."""
        what = endpoint or where or "something that the script does"
        if what in self._said:
            return None
        self._said.add(what)
        place = f" ({where})" if endpoint and where else ""
        return (
            f"{what}{place} blocks the event loop; the other handlers go on beside it. A handler "
            "that waits or computes without `await` should be `def`: it then runs in a thread."
        )

    def _blocker(self, frame: FrameType | None) -> tuple[str | None, str | None]:
        """Return the endpoint that a thread is in, and the innermost place that is the user's."""
        names = {each.code: each.endpoint.name for each in self._registry.registrations.values()}
        where = name = None
        while frame:
            if where is None and is_users(frame.f_code.co_filename):
                where = place(frame.f_code.co_filename, frame.f_lineno)
            name = name or names.get(frame.f_code)
            frame = frame.f_back
        return name, where


@dataclass
class _Loop:
    """An event loop with its listener, in this thread unless it has its own."""

    listener: Listener
    thread: Thread = field(default_factory=current_thread)
    is_blocked: bool = False

    @property
    def frame(self) -> FrameType | None:
        """What its thread is doing now."""
        return sys._current_frames().get(self.thread.ident or 0)


def _rests(frame: FrameType | None) -> bool:
    """Tell whether a thread is in no code but that of its event loop: the machine is slow."""
    while frame:
        is_loops = frame.f_globals.get("__name__", "").partition(".")[0] in LOOP
        # In a notebook `__main__` is the user's.
        if not is_loops or is_users(frame.f_code.co_filename):
            return False
        frame = frame.f_back
    return True


def _header(scope: Any, wanted: bytes) -> str:
    return next((value.decode() for name, value in scope["headers"] if name == wanted), "")
