"""Tables: what ended, and in how many seconds one that comes now will have."""

from math import inf

import pytest
from pytest import approx

from hfhooks.dispatch.pace import ENOUGH, WINDOW, Pace


def busy(*, ends: int, every: float, takes: float = 0.1) -> Pace:
    """Return the pace of a lane where others wait from 0 s on, and so many calls have ended."""
    pace = Pace()
    pace.waits(0.0, is_busy=True)
    for number in range(1, ends + 1):
        pace.ended(number * every, takes)
    return pace


@pytest.mark.parametrize(
    ("pace", "now", "waiting", "answer_in"),
    [
        (Pace(), 0.0, 0, 0.0),
        (Pace(), 9.0, 99, 0.0),
        (busy(ends=0, every=1), WINDOW - 0.1, 99, 0.0),
        (busy(ends=0, every=1), WINDOW, 99, inf),
        (busy(ends=0, every=1), WINDOW, 0, 0.0),
        (busy(ends=ENOUGH - 1, every=0.1), 1.0, 99, 0.0),
        (busy(ends=ENOUGH, every=0.1), 0.8, 99, 99 / 10 + 0.1),
        (busy(ends=40, every=0.05, takes=0.5), 2.0, 10, 10 / 20 + 0.5),
        (busy(ends=40, every=0.05), 2.0 + WINDOW / 2, 10, 10 / 10 + 0.1),
        (busy(ends=40, every=0.05), 9.0, 10, inf),
        (busy(ends=2, every=1.0, takes=1.0), 2.0, 10, 10 / 1 + 1),
    ],
)
def test_in_how_many_seconds_one_is_handled_that_comes_now(
    pace: Pace, now: float, waiting: int, answer_in: float
) -> None:
    assert pace.answer_in(now, waiting) == approx(answer_in, rel=0.06)


def test_time_in_which_nothing_waits_does_not_count() -> None:
    pace = busy(ends=10, every=0.1)
    pace.waits(1.0, is_busy=False)
    pace.ended(30.0, 0.1)
    pace.waits(60.0, is_busy=True)
    assert pace.answer_in(60.0, 20) == approx(20 / 10 + 0.1)


def test_the_last_calls_count() -> None:
    pace = busy(ends=100, every=0.01, takes=9.0)
    for _ in range(40):
        pace.ended(1.0, 0.2)
    assert pace.answer_in(1.0, 14) == approx(14 / 140 + 0.2)
