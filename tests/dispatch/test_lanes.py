"""Tables: what happens to the lanes, and what may be begun after that."""

from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from hfhooks.dispatch.lanes import Lanes
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.endpoint import Endpoint

Step = Callable[[Lanes], object]
NOW = 100.0


def serve(**limits: int) -> Step:
    """Let endpoints of these names run so many handlers."""
    endpoints = [Endpoint(name, max_concurrency=limit) for name, limit in limits.items()]
    return lambda lanes: lanes.use(endpoints)


def expect(name: str = "a", number: int = 1) -> Step:
    return lambda lanes: [lanes.expect(name, NOW) for _ in range(number)]


def arrive(name: str = "a", *, taken: bool = False, waits: bool = False, number: int = 1) -> Step:
    def step(lanes: Lanes) -> None:
        for _ in range(number):
            lanes.arrived(name, NOW, was_taken=taken, waits=waits)

    return step


def wait(name: str = "a", number: int = 1) -> Step:
    """Let deliveries come that have to wait."""
    return lambda lanes: lanes.left({name: number})


def cancel(name: str = "a", number: int = 1) -> Step:
    """Let some wait no more."""
    return lambda lanes: lanes.cancelled({name: number})


def begin(name: str = "a", number: int = 1, *, has_waited: bool = True) -> Step:
    def step(lanes: Lanes) -> None:
        for _ in range(number):
            lanes.begun(claim(name), NOW, has_waited=has_waited)

    return step


def end(name: str = "a", number: int = 1) -> Step:
    def step(lanes: Lanes) -> None:
        for _ in range(number):
            lanes.ended(claim(name), NOW, 0.1)

    return step


def claim(name: str) -> Claim:
    return Claim(1, Recorded(name, 0.0, "", (), b""), 1, "")


def after(*steps: Step) -> Lanes:
    lanes = Lanes()
    for step in steps:
        step(lanes)
    return lanes


@pytest.mark.parametrize(
    ("steps", "room"),
    [
        ([], {}),
        ([serve(a=2)], {"a": 2}),
        ([serve(a=2), begin()], {"a": 1}),
        ([serve(a=2), begin(number=2)], {}),
        ([serve(a=2), begin(number=2), end()], {"a": 1}),
        ([serve(a=2, b=1), begin(number=2)], {"b": 1}),
        ([serve(a=2), expect(), arrive(taken=True)], {"a": 2}),
        ([serve(a=2), expect()], {"a": 1}),
        ([serve(a=2), serve(b=1)], {"b": 1}),
        ([serve(a=2), begin(), serve(b=1), serve(a=2)], {"a": 1}),
        ([serve(a=2), begin(number=2), serve(a=1)], {}),
        ([serve(a=1), begin(), serve(a=3)], {"a": 2}),
        ([serve(a=9), expect(number=30)], {}),
        ([serve(a=99), expect(number=30)], {"a": 69}),
        ([serve(a=9), wait(), expect(number=30)], {"a": 9}),
    ],
)
def test_how_many_handlers_may_be_called(steps: list[Step], room: dict[str, int]) -> None:
    assert after(*steps).room() == room


@pytest.mark.parametrize(
    ("steps", "is_taken"),
    [
        ([], False),
        ([serve(a=1)], True),
        ([serve(b=1)], False),
        ([serve(a=1), begin()], False),
        ([serve(a=1), expect()], False),
        ([serve(a=2), expect()], True),
        ([serve(a=1), expect(), arrive(taken=True)], True),
        ([serve(a=1), wait()], False),
        ([serve(a=2), wait()], False),
        ([serve(a=2), wait(), begin()], True),
        ([serve(a=2), wait(number=3), cancel(number=2)], False),
        ([serve(a=2), wait(number=3), cancel(number=3)], True),
        ([serve(a=2), cancel(number=3)], True),
        ([serve(a=1), begin(), end()], True),
        ([serve(a=99), expect(number=98)], True),
        ([serve(a=99), expect(number=99)], False),
        ([serve(a=1, b=1), begin("b")], True),
    ],
)
def test_whether_the_handler_of_one_that_arrives_may_be_called_at_once(
    steps: list[Step], is_taken: bool
) -> None:
    assert after(*steps).expect("a", NOW)[0] is is_taken


BUSY = [serve(a=1), begin(has_waited=False), expect(number=9), arrive(waits=True, number=9)]
"""One runs and nine wait, from `NOW` on."""


def in_seconds(lanes: Lanes, seconds: float) -> float:
    return lanes.expect("a", NOW + seconds)[1]


def test_what_is_not_served_is_not_answered_in_time() -> None:
    assert in_seconds(after(serve(b=1)), 0) == inf


def test_where_nothing_waits_an_answer_is_expected_at_once() -> None:
    assert in_seconds(after(serve(a=1), begin(has_waited=False)), 10) == 0


def test_of_a_burst_whose_handlers_have_not_ended_yet_an_answer_is_expected() -> None:
    assert in_seconds(after(*BUSY), 1.9) == 0


def test_where_handlers_stand_still_no_answer_is_expected() -> None:
    assert in_seconds(after(*BUSY), 2) == inf


def test_what_comes_behind_others_is_answered_when_they_are() -> None:
    lanes = after(*BUSY)
    for _ in range(8):
        end()(lanes)
        begin()(lanes)
    assert in_seconds(lanes, 1) == approx(1 / 8 + 0.1)
    assert in_seconds(lanes, 1) == approx(2 / 8 + 0.1)


@pytest.mark.parametrize(
    ("steps", "is_short"),
    [
        ([serve(a=1)], False),
        ([serve(a=1), begin()], True),
        ([serve(a=1, b=1), begin("b")], True),
        ([serve(a=9), begin()], False),
        ([serve(a=9), expect(number=9)], True),
    ],
)
def test_whether_some_wait_for_room(steps: list[Step], is_short: bool) -> None:
    assert after(*steps).is_short() is is_short


@given(st.lists(st.sampled_from(["come", "arrive", "end"]), max_size=60), st.integers(1, 5))
def test_no_more_run_than_may_and_all_places_come_back(events: list[str], limit: int) -> None:
    lanes = after(serve(a=limit))
    arriving: list[bool] = []
    running = 0
    for event in events:
        if event == "come":
            arriving.append(lanes.expect("a", NOW)[0])
        elif event == "arrive" and arriving:
            was_taken = arriving.pop(0)
            lanes.arrived("a", NOW, was_taken=was_taken, waits=not was_taken)
            if was_taken:
                begin(has_waited=False)(lanes)
                running += 1
        elif event == "end" and running:
            end()(lanes)
            running -= 1
        assert running + sum(arriving) <= limit
        assert lanes.running == running
    for was_taken in arriving:
        lanes.arrived("a", NOW, was_taken=was_taken, waits=False)
    end(number=running)(lanes)
    assert lanes.room() == {"a": limit}
