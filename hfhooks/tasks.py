"""Tasks and threads that have an owner, who hears of every failure; and the loop they run on."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from hfhooks.errors import Fault

__all__ = ["CallThread", "Tasks", "in_thread", "interruptibly", "new_event_loop", "run", "soon"]

T = TypeVar("T")
Task: TypeAlias = "asyncio.Task[None]"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a helper is started again; each time twice as long."""


class Tasks:
    """What runs beside what, of three kinds; `report` hears of each fault.

    *One of many* (a connection, a command): its fault concerns nothing else. A *helper* (the
    tunnel, the watcher): it is started again, after a while, and is `degraded` meanwhile. The
    *core* (accepting, dispatching): there is no server without it, so `end` gets the fault.
    """

    def __init__(
        self,
        report: Callable[[Fault], None],
        end: Callable[[Fault], None],
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self.degraded: set[str] = set()
        """Helpers that wait to be started again."""
        self.report = report
        self._end = end
        self._first_pause = first_pause
        self._running: set[Task] = set()

    def one(self, name: str, work: Coroutine[Any, Any, None]) -> Task:
        """Run one of many."""
        return self._start(name, work, self.report)

    def core(self, name: str, work: Coroutine[Any, Any, None]) -> Task:
        """Run what nothing works without."""
        return self._start(name, work, self.fail)

    def helper(self, name: str, start: Callable[[], Awaitable[None]]) -> Task:
        """Run what the rest works without, for a while; it is over when it returns."""
        return self._start(name, self._again_and_again(name, start), self.report)

    def fail(self, fault: Fault) -> None:
        """Report a fault of the core, and end."""
        self.report(fault)
        self._end(fault)

    async def close(self) -> None:
        """End all that still runs."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _start(
        self, name: str, work: Coroutine[Any, Any, None], hear: Callable[[Fault], None]
    ) -> Task:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, hear))
        return task

    def _ended(self, hear: Callable[[Fault], None], task: Task) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            hear(Fault(task.get_name(), error))

    async def _again_and_again(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        pause = self._first_pause
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await start()
            except Exception as error:  # noqa: BLE001 # whatever it is, it is reported
                self.report(Fault(name, error))
            else:
                return
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                pause = self._first_pause
            self.degraded.add(name)
            await asyncio.sleep(pause)
            self.degraded.discard(name)
            pause = min(2 * pause, LONGEST_PAUSE)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on such a loop as `new_event_loop` makes."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop's, or one of asyncio's own where there is none."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def soon(call: Callable[[], None]) -> None:
    """Make a call in the next turn of the running loop, or now where there is none."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        call()
    else:
        loop.call_soon(call)


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Return what a call that may block returns, or raises.

    Unlike `asyncio.to_thread` the process does not wait, when it ends, for a call that was
    cancelled.
    """
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    Thread(target=_settle, args=(result, call, args), daemon=True, name="hfhooks-call").start()
    return await result


def interruptibly(call: Callable[..., T], *args: Any) -> T:
    """Return what a call returns, or raises, and have signals handled meanwhile.

    What Python does about a signal waits for the call that the main thread is in.
    """
    result: Future[T] = Future()

    def settle() -> None:
        try:
            result.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001 # it is raised where the result is awaited
            result.set_exception(error)

    Thread(target=settle, daemon=True, name="hfhooks-interruptible").start()
    return result.result()


class CallThread:
    """A thread that makes calls which may block, one after the other."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, call: Callable[..., T], *args: Any) -> T:
        """Return what a call returns, or raises."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put(lambda: _settle(result, call, args))
        return await result

    async def close(self) -> None:
        """End the thread when it has made the calls that it was given."""
        self._calls.put(None)
        await in_thread(self._thread.join)

    def _work(self) -> None:
        while call := self._calls.get():
            call()


def _settle(result: "asyncio.Future[T]", call: Callable[..., T], args: tuple[Any, ...]) -> None:
    """Make a call, and settle its result on the loop that waits for it."""
    value: Any = None
    error: BaseException | None = None
    try:
        value = call(*args)
    except BaseException as raised:  # noqa: BLE001 # it is raised where the result is awaited
        error = raised

    def settle() -> None:
        if result.done():
            return
        if error:
            result.set_exception(error)
        else:
            result.set_result(value)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        result.get_loop().call_soon_threadsafe(settle)
