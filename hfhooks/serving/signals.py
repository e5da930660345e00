"""The signals that ask a server to stop."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import TypeAlias

from hfhooks.errors import Fault, JournalError

__all__ = ["CTRL_C", "Stop", "exit_code", "settle", "stop_signal"]

CTRL_C = 130
"""Exit code for SIGINT."""
ONE_SIGNAL = 0.5
"""Seconds within which several signals are one: whoever stops us may send more than one kind."""
Stop: TypeAlias = "asyncio.Future[int | Fault]"
"""Done when a server is to stop: with the number of a signal, or 0, or with a fault of ours."""


def exit_code(stop: Stop) -> int:
    """Return what a server ends with. Raises `JournalError` where it could not go on."""
    why = stop.result()
    if isinstance(why, Fault):
        return why.exit_code
    return CTRL_C if why == signal.SIGINT else 0


def settle(stop: Stop, why: int | Fault | JournalError) -> None:
    """Stop the server for this reason, unless it has one. May be called in any thread."""

    def now() -> None:
        if stop.done():
            return
        if isinstance(why, JournalError):
            stop.set_exception(why)
        else:
            stop.set_result(why)

    with suppress(RuntimeError):  # the loop is closed: it has stopped
        stop.get_loop().call_soon_threadsafe(now)


@contextmanager
def stop_signal(
    before_leaving: Callable[[], None] = lambda: None, told: Callable[[], None] = lambda: None
) -> Iterator[Stop]:
    """Yield what gets the signal that asks us to stop; a second one ends us at once.

    `told` is called first of all in the signal's handler.
    """
    loop = asyncio.get_running_loop()
    stop: Stop = loop.create_future()
    first_at = inf

    def on_signal(number: int, _: object) -> None:
        nonlocal first_at
        told()
        now = time.monotonic()
        if now > first_at + ONE_SIGNAL:
            before_leaving()
            os._exit(CTRL_C if number == signal.SIGINT else 128 + number)
        first_at = min(first_at, now)
        settle(stop, number)

    wanted = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    before = {name: signal.signal(name, on_signal) for name in wanted}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
