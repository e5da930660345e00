"""What handlers have left behind when they ended: threads, jobs of pools, tasks, processes."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import CodeType, FrameType
from typing import Any

from hfhooks.errors import place
from hfhooks.tracebacks import is_users

__all__ = ["Leftovers"]

LOOK_EVERY = 0.05
"""Seconds between two looks whether it has ended."""
LOOKS = 2
"""In a row that find nothing: a thread of a pool is about to take its next job."""
FEW_TIMERS = 64
OURS = ("hfhooks-", "AnyIO worker thread")
"""Names of threads of which others know whether they have something to do."""


class Leftovers:
    """What there is beside what there was when the scripts had been loaded.

    Code that runs for as long as the process does, such as a library's monitor, is none: a thread
    counts that runs the user's code, or for which Python would wait, a task that awaits the user's
    code, a timer that a handler, or what it has left behind, has set for that. `loops` are the
    event loops.
    """

    def __init__(self, loops: Callable[[], Iterable[asyncio.AbstractEventLoop]]) -> None:
        self._loops = loops
        self._threads = set(threading.enumerate())
        self._tasks = self._all_tasks()
        self._timers: dict[asyncio.TimerHandle, str] = {}
        self._look_at = FEW_TIMERS
        """How many of them there are when those are forgotten that were cancelled."""

    def note_timers(self, loop: asyncio.AbstractEventLoop) -> None:
        """Know the timers that are set on a loop from now on: uvloop tells nobody."""
        for name in ("call_later", "call_at"):
            setattr(loop, name, partial(self._set_timer, getattr(loop, name)))

    async def wait(self, say: Callable[[list[str]], None]) -> None:
        """Return when all of it has ended; say first what that is."""
        looks = 0
        has_said = False
        while looks < LOOKS:
            found = self.found()
            looks = 0 if found else looks + 1
            if found and not has_said:
                has_said = True
                say(found)
            await asyncio.sleep(LOOK_EVERY)

    def found(self) -> list[str]:
        """Return a description of each."""
        threads = [each for each in threading.enumerate() if each not in self._threads]
        frames = sys._current_frames()
        found = [
            _described(f"thread {thread.name}", frames.get(thread.ident or 0))
            for thread in threads
            if _is_busy(thread, frames.get(thread.ident or 0))
        ]
        tasks = self._all_tasks() - self._tasks - {asyncio.current_task()}
        found += [f"task {task.get_name()}{where}" for task in tasks if (where := _awaits(task))]
        found += [what for timer, what in self._timers.copy().items() if not timer.cancelled()]
        return sorted(found + [f"process {name}" for name in _processes(threads)])

    def _all_tasks(self) -> set[Any]:
        return {task for loop in self._loops() for task in asyncio.all_tasks(loop)}

    def _set_timer(
        self,
        set_timer: Callable[..., asyncio.TimerHandle],
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Any = None,
    ) -> asyncio.TimerHandle:
        code = _code_of(callback)
        is_theirs = code is not None and is_users(code.co_filename)
        task = asyncio.current_task() if is_theirs and asyncio._get_running_loop() else None
        # What sets itself again and again has done so since the scripts were loaded.
        if code is None or task is None or task in self._tasks:
            return set_timer(when, callback, *args, context=context)

        def call() -> None:
            self._timers.pop(timer, None)
            callback(*args)

        timer = set_timer(when, call, context=context)
        where = place(code.co_filename, code.co_firstlineno)
        self._timers[timer] = f"timer {code.co_name} ({where})"
        if len(self._timers) >= self._look_at:
            self._timers = {
                each: what for each, what in self._timers.items() if not each.cancelled()
            }
            self._look_at = max(FEW_TIMERS, 2 * len(self._timers))
        return timer


def _is_busy(thread: threading.Thread, frame: FrameType | None) -> bool:
    """Tell whether a thread does something that its process should not end."""
    if thread is threading.current_thread() or thread.name.startswith(OURS):
        return False
    frames = list(_stack(frame))
    if any(is_users(each.f_code.co_filename) for each in frames):
        return True
    if any(_has_jobs(each) for each in frames):
        return True
    modules = {each.f_globals.get("__name__") for each in frames}
    if "concurrent.futures.thread" in modules:  # at work, unless it waits for that
        return frames[0].f_globals.get("__name__") != "concurrent.futures.thread"
    if hasattr(thread, "pending_work_items"):  # of a pool of processes
        return bool(thread.pending_work_items)
    return not thread.daemon


def _has_jobs(frame: FrameType) -> bool:
    """Tell whether this is the thread that waits for the answers of a `multiprocessing.Pool`."""
    is_pool = frame.f_globals.get("__name__") == "multiprocessing.pool"
    return is_pool and frame.f_code.co_name == "_handle_results" and bool(frame.f_locals["cache"])


def _processes(threads: list[threading.Thread]) -> list[str]:
    """Return the names of processes that handlers have started, and that are of no pool."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return []
    pooled = {pid for each in threads for pid in getattr(each, "processes", ())}
    children = multiprocessing.active_children()
    return [each.name for each in children if not each.daemon and each.pid not in pooled]


def _awaits(task: Any) -> str | None:
    """Return where in the user's code a task is, None where it is not in it."""
    awaited, where = task.get_coro(), None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame and is_users(frame.f_code.co_filename):
            where = f" ({place(frame.f_code.co_filename, frame.f_lineno)})"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return where


def _code_of(callback: Any) -> CodeType | None:
    """Return what of Python runs when this is called, None where that is not known."""
    while isinstance(callback, partial):
        callback = callback.func
    return getattr(callback, "__code__", None)


def _described(what: str, frame: FrameType | None) -> str:
    for each in _stack(frame):
        if is_users(each.f_code.co_filename):
            return f"{what} ({place(each.f_code.co_filename, each.f_lineno)})"
    return what


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield frames, the innermost first."""
    while frame:
        yield frame
        frame = frame.f_back
