"""Contenders take turns, and are compared turn by turn."""

from tests.benchmarks.contenders import BASELINE, NOW, REAL_DISK, Contender, contenders
from tests.benchmarks.load import Failure
from tests.benchmarks.measures import Turns
from tests.benchmarks.table import Results, Row, play

BOTH = contenders(REAL_DISK)[:2]


def nothing(contender: Contender) -> Turns:
    yield {}


BLANK = Row("blank", nothing, [])


def test_turns_are_taken_in_an_order_that_alternates() -> None:
    order = []

    def measure(contender: Contender) -> Turns:
        while True:
            order.append(contender.name)
            yield {"value": len(order)}

    results, _ = play(Row("order", measure, [BASELINE, NOW]), BOTH, rounds=2)

    assert order == [BASELINE, NOW, NOW, BASELINE, BASELINE, NOW]
    assert results.values(NOW) == [3, 6]


def test_one_that_fails_is_named_and_ends_nobody_else() -> None:
    def measure(contender: Contender) -> Turns:
        while True:
            if contender.name == NOW:
                raise Failure("it is broken")
            yield {"value": 1}

    results, errors = play(Row("failing", measure, [BASELINE, NOW]), BOTH, rounds=2)

    assert results.numbers == {BASELINE: [{"value": 1}] * 2}
    assert errors == ["failing: it is broken"]


def test_a_ratio_is_that_of_the_same_turn() -> None:
    turns = {
        BASELINE: [{"value": value} for value in (100.0, 200.0, 50.0)],
        NOW: [{"value": value} for value in (300.0, 600.0, 160.0)],
    }

    assert Results(BLANK, turns).values(NOW, peer=BASELINE) == [3, 3, 3.2]


def test_who_failed_to_answer_is_named() -> None:
    turns = {NOW: [{"value": 1.0, "failed": 2.0}], BASELINE: [{"value": 1.0}]}

    assert Results(BLANK, turns).failed == {NOW: 2}
