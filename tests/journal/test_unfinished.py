import asyncio
from dataclasses import dataclass, field

import pytest

from hfhooks.journal.clock import Clock
from hfhooks.journal.due import Waiting
from hfhooks.journal.unfinished import Unfinished
from hfhooks.model.delivery import Claim
from tests.harness import until
from tests.journal.engines import NEW

ROOM = {"train": 99}


@dataclass
class Told:
    """How often somebody was told that something may be due."""

    now: float = 1e9
    set_by: float = 0.0
    times: int = 0
    moved: list[float] = field(default_factory=list)
    unfinished: Unfinished = field(init=False)

    def __post_init__(self) -> None:
        clock = Clock(lambda: self.now + self.set_by, lambda: self.now)
        self.unfinished = Unfinished(self._tell, clock, self.moved.append)

    def _tell(self) -> None:
        self.times += 1

    def taken(self, *, in_quarantine: bool = False) -> list[int]:
        return [each.id for each in self.unfinished.take(ROOM, in_quarantine)]


@pytest.fixture
async def told() -> Told:
    return Told()


def waiting(id: int = 1, since: float = 0.0, suspect: bool = False) -> Waiting:
    return Waiting(since, id, "train", suspect)


def claim(id: int = 1, number: int = 1) -> Claim:
    return Claim(id, NEW, number, "a host")


async def test_what_is_due_is_told_and_taken(told: Told) -> None:
    told.unfinished.wait(waiting())
    assert (told.times, told.taken(), told.taken()) == (1, [1], [])


async def test_what_is_due_later_is_told_when_it_is(told: Told) -> None:
    told.unfinished.wait(waiting(since=told.now + 0.01), is_due=False)
    assert (told.times, told.taken()) == (0, [])
    await until(lambda: told.times)
    told.now += 0.01
    assert told.taken() == [1]


async def test_of_what_is_due_later_the_first_is_told_first(told: Told) -> None:
    for id, pause in enumerate((3600.0, 0.01, 7200.0)):
        told.unfinished.wait(waiting(id, told.now + pause), is_due=False)
    await until(lambda: told.times)
    told.now += 0.01
    assert told.taken() == [1]


async def test_after_a_take_it_is_told_when_the_next_is_due(told: Told) -> None:
    for id, pause in enumerate((0.0, 0.01)):
        told.unfinished.wait(waiting(id, told.now + pause), is_due=False)
    assert told.taken() == [0]
    told.times = 0
    await until(lambda: told.times)


async def test_what_waits_and_what_is_taken_is_not_finished(told: Told) -> None:
    unfinished = told.unfinished
    unfinished.wait(waiting(1))
    unfinished.wait(waiting(2, told.now + 60), is_due=False)
    unfinished.hold(claim(3))
    assert len(unfinished.backlog) == 3
    assert told.taken() == [1] and len(unfinished.backlog) == 3
    for id in (1, 2, 3, 99):
        unfinished.drop(id)
    assert len(unfinished.backlog) == 0


async def test_a_claim_holds_for_the_attempt_that_it_is(told: Told) -> None:
    unfinished = told.unfinished
    unfinished.wait(waiting())
    assert not unfinished.is_taken(1)
    told.taken()
    assert unfinished.is_taken(1) and not unfinished.holds(claim(number=1))
    unfinished.hold(claim(number=2))
    assert [unfinished.holds(claim(number=number)) for number in (1, 2, 3)] == [False, True, False]
    unfinished.drop(1)
    assert not unfinished.is_taken(1) and not unfinished.holds(claim(number=2))


async def test_suspects_wait_until_they_may(told: Told) -> None:
    told.unfinished.wait(waiting(1, suspect=True))
    told.unfinished.wait(waiting(2))
    assert [told.taken(), told.taken(in_quarantine=True), told.taken(in_quarantine=True)] == [
        *([2], [1], [])
    ]


async def test_when_it_is_closed_it_tells_nothing_more(told: Told) -> None:
    loop = asyncio.get_running_loop()
    told.unfinished.wait(waiting(since=told.now + 0.001), is_due=False)
    told.unfinished.close()
    later = loop.create_future()
    loop.call_later(0.01, later.set_result, None)
    await later
    assert told.times == 0


@pytest.mark.parametrize("set_by", [-400 * 24 * 3600.0, -61.0, 61.0, 60 * 24 * 3600.0])
async def test_what_is_due_later_is_so_whatever_is_done_to_the_clock(
    told: Told, set_by: float
) -> None:
    told.unfinished.wait(waiting(1, told.now + 3600), is_due=False)
    told.set_by = set_by
    told.unfinished.wait(waiting(2, told.unfinished.now() + 3660), is_due=False)
    assert told.moved == [set_by]
    found = []
    for seconds in (0, 3599, 1, 59, 1):
        told.now += seconds
        found.append(told.taken())
    assert found == [[], [], [1], [], [2]] and told.moved == [set_by]
