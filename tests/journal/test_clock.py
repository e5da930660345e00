import time

import pytest

from hfhooks.journal.clock import LONGEST_ASKED, LONGEST_PAUSE, Clock, due_at_last, steady

YEAR, NOW = 365 * 24 * 3600.0, 1e9


def test_what_a_clock_was_set_by_is_told_once_and_what_it_runs_wrong_is_not() -> None:
    wall, steps = 1e9, 5.0
    clock = Clock(lambda: wall, lambda: steps)
    told = []
    for moved, passed in ((0, 9.0), (60, 1.0), (0, 0.0), (0.5, 1.0), (-YEAR, 30.0), (0, 1.0)):
        wall, steps = wall + moved + passed, steps + passed
        told.append(clock.set_by())
    assert told == pytest.approx([0, 60, 0, 0, -YEAR, 0])


def test_what_goes_on_is_no_time_of_day() -> None:
    assert 0 <= steady() - steady() + 60 <= 60 and abs(steady() - time.time()) > YEAR


@pytest.mark.parametrize(
    ("due_in", "since", "is_asked", "waits"),
    [
        (3600, -10, True, 3600),
        (500, -10, False, 500),
        (-500, -510, False, -500),
        (YEAR + 30, YEAR, False, 30),
        (YEAR + 3600, YEAR, True, 3600),
        (YEAR, None, False, LONGEST_PAUSE),
        (YEAR, None, True, LONGEST_ASKED),
        (YEAR, YEAR - 7200, False, LONGEST_PAUSE),
        (-YEAR, -YEAR - 30, True, -YEAR),
    ],
)
def test_after_a_restart_nothing_waits_longer_than_it_was_to(
    due_in: float, since: float | None, is_asked: bool, waits: float
) -> None:
    since = None if since is None else NOW + since
    assert due_at_last(NOW + due_in, since, is_asked, NOW) == NOW + waits
