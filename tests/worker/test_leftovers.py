"""Timers that handlers leave behind; threads, pools and tasks: tests/test_others_go_on.py."""

import asyncio
from functools import partial

import pytest

from hfhooks.worker.leftovers import FEW_TIMERS, Leftovers
from tests.harness import until


class Script:
    """Stands for a script: its functions are the user's code."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.left = Leftovers(lambda: [self.loop])
        self.left.note_timers(self.loop)
        self.rung: list[str] = []
        self.timers: list[asyncio.TimerHandle] = []

    def ring(self, word: str) -> None:
        self.rung.append(word)

    async def handle(self, after: float) -> None:
        self.timers.append(self.loop.call_later(after, self.ring, "later"))
        self.timers.append(self.loop.call_at(self.loop.time() + after, partial(self.ring, "at")))


@pytest.fixture
async def script() -> Script:
    return Script()


async def test_a_timer_that_a_handler_has_set_is_left_behind_until_it_is_over(
    script: Script,
) -> None:
    await asyncio.create_task(script.handle(after=0.01))
    first, second = script.left.found()
    assert first == second and first.startswith("timer ring (")
    await until(lambda: sorted(script.rung) == ["at", "later"])
    assert script.left.found() == []


async def test_a_timer_that_is_cancelled_is_not_waited_for_and_forgotten(script: Script) -> None:
    for _ in range(FEW_TIMERS):
        await asyncio.create_task(script.handle(after=60))
        for timer in script.timers:
            timer.cancel()
    assert script.left.found() == [] and len(script.left._timers) < FEW_TIMERS


async def test_a_timer_of_a_library_or_that_sets_itself_again_is_not_left_behind(
    script: Script,
) -> None:
    waiting = asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), 60))
    await asyncio.sleep(0)
    assert not any(what.startswith("timer") for what in script.left.found())
    waiting.cancel()
    script.loop.call_soon(script.loop.call_later, 60, script.ring, "again")
    await asyncio.sleep(0)
    assert script.left.found() == []
