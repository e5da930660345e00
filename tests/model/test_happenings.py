import pytest

from hfhooks.errors import Fault
from hfhooks.model.happenings import Failed, Happening, Happenings, Note, Stopped, Subscriber

FIRST, SECOND = Note("first"), Note("second")


def failing(happening: Happening) -> None:
    raise ValueError("no room")


def test_everybody_is_told_everything_in_order() -> None:
    told: list[tuple[int, Happening]] = []
    happenings = Happenings(
        lambda each: told.append((1, each)), lambda each: told.append((2, each))
    )
    happenings.tell(FIRST)
    happenings.tell(SECOND)
    assert told == [(1, FIRST), (2, FIRST), (1, SECOND), (2, SECOND)]


def test_who_subscribes_later_is_told_what_happens_later() -> None:
    told: list[Happening] = []
    happenings = Happenings()
    happenings.tell(FIRST)
    happenings.subscribe(told.append)
    happenings.tell(Stopped())
    assert told == [Stopped()]


@pytest.mark.parametrize("is_first", [True, False])
def test_the_fault_of_one_is_told_to_the_others(is_first: bool) -> None:
    told: list[Happening] = []
    subscribers: list[Subscriber] = [failing, told.append] if is_first else [told.append, failing]
    Happenings(*subscribers).tell(FIRST)
    [fault] = [each.error for each in told if isinstance(each, Failed)]
    assert isinstance(fault, Fault) and str(fault.error) == "no room"
    assert FIRST in told and len(told) == 2


def test_faults_of_several_end_nothing() -> None:
    told: list[Happening] = []

    def also_failing(happening: Happening) -> None:
        raise RuntimeError("nor here")

    Happenings(failing, also_failing, told.append).tell(FIRST)
    errors = [str(each.error) for each in told if isinstance(each, Failed)]
    assert errors == [
        "a fault in a subscriber: ValueError: no room.",
        "a fault in a subscriber: RuntimeError: nor here.",
    ]
    assert FIRST in told


def test_who_has_failed_is_told_what_happens_next() -> None:
    told: list[Happening] = []

    def fails_once(happening: Happening) -> None:
        told.append(happening)
        if len(told) == 1:
            raise ValueError

    happenings = Happenings(fails_once)
    happenings.tell(FIRST)
    happenings.tell(SECOND)
    assert told == [FIRST, SECOND]
