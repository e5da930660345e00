"""What a worker was asked for, until nothing of it is left; with a process: `test_child.py`."""

import pytest

from hfhooks.errors import Fault
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import CRASHED, CUT_OFF, INTERRUPTED, LOST, Ending
from hfhooks.supervisor.asked import Asked
from hfhooks.worker.frames import of_ending

PENDING = Ending("answered", 200, pending_after=True)


class Rig:
    def __init__(self) -> None:
        self.late: list[tuple[int, int, str | None, str]] = []
        self.endings: list[Ending] = []
        self.asked = Asked(lambda *late: self.late.append(late))

    def ask(self, id: int) -> int:
        claim = Claim(id, Recorded("train", 0.0, "", (), b"{}"), 1, "")
        return self.asked.add(claim, self.endings.append)

    def say(self, id: int, error: str | None) -> None:
        self.asked.late({"id": id, "attempt": 1, "error": error})


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_what_is_left_is_told_once(rig: Rig) -> None:
    rig.asked.answered(of_ending(rig.ask(7), PENDING))
    assert rig.endings == [PENDING] and rig.late == []
    for error in (None, None):
        rig.say(7, error)
    rig.asked.cut_off(CRASHED)
    assert rig.late == [(7, 1, None, "raised")]


def test_what_is_left_goes_on_by_its_name(rig: Rig) -> None:
    rig.ask(8)
    rig.asked.answered(of_ending(rig.ask(7), PENDING))
    assert [str(call) for call in rig.asked.going_on] == [
        "train #8, 0 s",
        "train #7, 0 s, after its answer",
    ]
    rig.say(7, None)
    assert [call.name for call in rig.asked.going_on] == ["train #8"]


def test_what_has_failed_is_not_done_as_well(rig: Rig) -> None:
    rig.asked.answered(of_ending(rig.ask(7), PENDING))
    for error in ("Traceback", None):
        rig.say(7, error)
    assert rig.late == [(7, 1, "Traceback", "raised")]


@pytest.mark.parametrize("kind", [CRASHED, INTERRUPTED])
def test_what_is_cut_off_is_told_with_the_reason(rig: Rig, kind: str) -> None:
    rig.asked.answered(of_ending(rig.ask(7), PENDING))
    rig.asked.cut_off(kind)
    assert rig.late == [(7, 1, CUT_OFF[kind], "interrupted")]


def test_one_that_ran_alone_has_ended_the_worker(rig: Rig) -> None:
    rig.ask(7)
    rig.asked.end_all("exited with code 3")
    [ending] = rig.endings
    assert ending.kind == CRASHED
    assert ending.body == b"The worker exited with code 3 while this handler ran."


@pytest.mark.parametrize("beside", ["a call", "one that was given up", "what is left to be done"])
def test_of_several_that_ran_nobody_knows_who_has_ended_the_worker(rig: Rig, beside: str) -> None:
    number = rig.ask(7)
    if beside == "what is left to be done":
        rig.asked.answered(of_ending(number, PENDING))
    if beside == "one that was given up":
        assert rig.asked.give_up(7) == number and rig.asked.give_up(7) is None
    rig.ask(8)
    rig.asked.end_all("exited with code 3")
    assert rig.endings[-1].kind == LOST


def test_one_that_was_ended_on_purpose_has_nobody_to_blame(rig: Rig) -> None:
    rig.ask(7)
    rig.asked.end_all(None)
    assert [ending.kind for ending in rig.endings] == [INTERRUPTED]


def test_what_was_given_up_goes_on_in_vain_once_all_else_has_ended(rig: Rig) -> None:
    given_up, other = rig.ask(7), rig.ask(8)
    rig.asked.give_up(7)
    assert rig.asked.goes_on(given_up) and not rig.asked.is_in_vain
    rig.asked.answered(of_ending(other, PENDING))
    assert not rig.asked.is_in_vain
    rig.say(8, None)
    assert rig.asked.is_in_vain
    rig.asked.answered(of_ending(given_up, PENDING))
    assert not (rig.asked.goes_on(given_up) or rig.asked.is_in_vain)


def test_many_that_ran_beside_are_named_in_part(rig: Rig) -> None:
    for id in range(1, 7):
        rig.ask(id)
    rig.asked.end_all("exited with code 3")
    assert b"beside train #2, train #3, train #4 and 2 more; it runs again" in rig.endings[0].body


def test_an_answer_that_comes_too_late_leaves_nothing(rig: Rig) -> None:
    number = rig.ask(7)
    rig.asked.end_all(None)
    rig.asked.answered(of_ending(number, PENDING))
    rig.asked.fail(number, Fault("a test", ValueError()))
    rig.asked.cut_off(INTERRUPTED)
    assert [ending.kind for ending in rig.endings] == [INTERRUPTED] and rig.late == []
