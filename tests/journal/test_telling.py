import pytest

from hfhooks.errors import DiskError, JournalFull
from hfhooks.journal.telling import Telling
from hfhooks.model.condition import Condition

HEALTHY = Condition()
FULL = Condition("full", JournalFull("no room."))
STILL_FULL = Condition("full", JournalFull("no room yet."))
FAILED = Condition("failed", DiskError("no disk."))


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ([HEALTHY], []),
        ([FULL], [FULL]),
        ([FULL, STILL_FULL], [FULL]),
        ([FULL, HEALTHY, FULL], [FULL, HEALTHY, FULL]),
        ([FULL, FAILED], [FULL, FAILED]),
        ([FAILED, HEALTHY, FULL], [FAILED]),
    ],
)
def test_a_condition_is_told_when_it_is_another_one(
    conditions: list[Condition], told: list[Condition]
) -> None:
    heard: list[Condition] = []
    telling = Telling()
    telling.when_changed(heard.append)
    for condition in conditions:
        telling.become(condition)
    assert heard == told
    assert telling.condition == [HEALTHY, *told][-1]


def test_who_hears_of_it_finds_it_so() -> None:
    telling = Telling()
    found: list[bool] = []
    telling.when_changed(lambda condition: found.append(telling.condition is condition))
    telling.become(FULL)
    assert found == [True]


def test_a_condition_nobody_asked_for_is_one_all_the_same() -> None:
    telling = Telling()
    telling.become(FAILED)
    assert telling.condition is FAILED
