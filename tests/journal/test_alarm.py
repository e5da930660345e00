import asyncio
from math import inf
from typing import Any

import pytest

from hfhooks.journal.alarm import LOOK_AGAIN, Alarm


class Still(asyncio.SelectorEventLoop):
    """A loop whose time stands still until a test sets it forward, so that nobody waits for it."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": Still}


class Bell:
    """An alarm, and how often it has rung; its clock is not that of the loop."""

    def __init__(self) -> None:
        self.now = 1e9
        self.rung = 0
        self.again_at: float | None = None
        self.alarm = Alarm(self._ring, lambda: self.now)

    def _ring(self) -> None:
        self.rung += 1
        if self.again_at:
            self.alarm.set(self.again_at)
            self.again_at = None

    async def after(self, seconds: float) -> int:
        """Return how often it has rung when so many seconds have passed."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Still)
        loop.now += seconds
        self.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)
        return self.rung


@pytest.fixture
async def bell() -> Bell:
    return Bell()


async def test_it_rings_at_its_time_and_once(bell: Bell) -> None:
    bell.alarm.set(bell.now + 10)
    assert [await bell.after(seconds) for seconds in (0, 9.5, 0.5, 3600)] == [0, 0, 1, 1]


@pytest.mark.parametrize("ago", [0.0, 3600.0])
async def test_what_is_past_is_rung_at_once_and_not_before_it_is_set(
    bell: Bell, ago: float
) -> None:
    bell.alarm.set(bell.now - ago)
    assert bell.rung == 0
    assert await bell.after(0) == 1


async def test_it_rings_at_the_time_that_was_set_last(bell: Bell) -> None:
    for pause in (5, 20, 10):
        bell.alarm.set(bell.now + pause)
    assert [await bell.after(seconds) for seconds in (9.5, 0.5, 3600)] == [0, 1, 1]


async def test_it_rings_no_more_when_it_is_cancelled_or_set_to_never(bell: Bell) -> None:
    bell.alarm.cancel()
    bell.alarm.set(bell.now + 5)
    bell.alarm.cancel()
    assert await bell.after(10) == 0
    bell.alarm.set(bell.now + 5)
    bell.alarm.set(inf)
    assert await bell.after(10) == 0


async def test_what_is_far_off_is_rung_though_the_clock_is_looked_at_meanwhile(bell: Bell) -> None:
    at = bell.now + 10 * LOOK_AGAIN
    bell.alarm.set(at)
    while bell.now < at:
        before = await bell.after(LOOK_AGAIN)
    assert before and await bell.after(LOOK_AGAIN) == before


async def test_a_clock_that_is_set_forward_is_noticed(bell: Bell) -> None:
    bell.alarm.set(bell.now + 24 * 3600)
    bell.now += 24 * 3600
    assert await bell.after(LOOK_AGAIN) == 1


async def test_a_clock_that_is_set_back_does_not_lose_the_alarm(bell: Bell) -> None:
    bell.alarm.set(bell.now + 10)
    bell.now -= 15
    early = await bell.after(10)
    assert await bell.after(15) == early + 1
    assert await bell.after(3600) == early + 1


@pytest.mark.parametrize("first", [10, 3600])
async def test_who_hears_it_may_set_it_again(bell: Bell, first: float) -> None:
    bell.again_at = bell.now + LOOK_AGAIN + 5
    bell.alarm.set(bell.now + first)
    assert [await bell.after(seconds) for seconds in (LOOK_AGAIN, 4, 1, 9)] == [1, 1, 2, 2]
