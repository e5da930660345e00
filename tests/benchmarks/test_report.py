"""What a person reads of the numbers."""

import pytest

from tests.benchmarks import report
from tests.benchmarks.contenders import BASELINE, BEFORE, NOW
from tests.benchmarks.measures import commands
from tests.benchmarks.table import Goal, Results, Row

ROW = Row("results", commands, [BASELINE, BEFORE, NOW], [Goal("≥", 2)], "/s")


def results(now: float) -> Results:
    numbers = {BASELINE: 100.0, BEFORE: 50.0, NOW: now}
    return Results(ROW, {name: [{"value": value}] for name, value in numbers.items()})


@pytest.mark.parametrize(("now", "verdict"), [(300, "yes"), (150, "no")])
def test_a_goal_is_held_against_the_ratio(now: float, verdict: str) -> None:
    *_, line = report.goals([results(now)])

    assert line.split()[:5] == ["results", "100", "50", "0.5", str(now)]
    assert line.endswith(f"≥ 2: {verdict}")


def test_details_have_each_contender_and_its_ratio() -> None:
    *_, line = report.details(results(300))

    assert line.split() == [NOW, "300", "/s;", "3", "x", BASELINE]
