"""Handlers as coroutine functions, and what becomes of one that is cancelled."""

import asyncio
import threading

import pytest

from hfhooks.worker.handlers import call_of
from tests.harness import polled, until


async def test_a_handler_in_a_thread_that_is_cancelled_has_ended_when_its_thread_has() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def handler() -> None:
        begun.set()
        go_on.wait(10)

    calling = asyncio.ensure_future(call_of(handler)())
    await until(begun.is_set)
    calling.cancel()
    for _ in range(3):
        await polled()
    assert not calling.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_one_that_is_cancelled_before_it_begins_never_does() -> None:
    begun: list[int] = []
    calling = asyncio.ensure_future(call_of(lambda: begun.append(1))())
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await polled()
    assert begun == []


async def test_a_handler_on_a_loop_that_is_cancelled_may_tidy_up() -> None:
    done: list[str] = []
    begun = asyncio.Event()

    async def handler() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(done.append, "saved")
            done.append("tidied up")

    calling = asyncio.ensure_future(call_of(handler)())
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert done == ["saved", "tidied up"]
