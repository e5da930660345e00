"""Who is kept, and for how long."""

import asyncio
from math import inf

import pytest

from hfhooks.gateway.kept import Kept
from hfhooks.model.delivery import Claim, Verdict
from hfhooks.model.ending import Ending
from tests.harness import until


class Sender:
    def __init__(self, kept: Kept, for_seconds: float = 0.0) -> None:
        self.kept, self.left_at = kept, 0.0
        kept.add(self, asyncio.get_running_loop().time() - for_seconds)

    def told(self, claim: Claim, verdict: Verdict, ending: Ending) -> int:
        raise AssertionError("nobody tells")

    def waits_in_vain(self) -> None:
        self.kept.remove(self)
        self.left_at = asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("wait", "answer_in", "may"), [(5, 0, True), (5, 5, True), (5, 5.1, False), (5, inf, False)]
)
async def test_who_is_answered_in_time_is_kept(wait: float, answer_in: float, may: bool) -> None:
    assert Kept(wait, 1).may_add(answer_in) is may


async def test_without_a_wait_nobody_is_kept() -> None:
    assert not Kept(0, 1).may_add(0)


async def test_no_more_are_kept_than_may_be() -> None:
    kept = Kept(60, 2)
    first, _ = Sender(kept), Sender(kept)
    assert not kept.may_add(0)
    kept.remove(first)
    assert kept.may_add(0)


async def test_each_leaves_when_its_time_is_over_and_none_before() -> None:
    kept = Kept(0.05, 9)
    first = Sender(kept)
    loop = asyncio.get_running_loop()
    came_at: list[float] = []
    late: list[Sender] = []

    def come() -> None:
        came_at.append(loop.time())
        late.append(Sender(kept))

    loop.call_later(0.03, come)
    await until(lambda: late and late[0].left_at)
    assert first.left_at <= late[0].left_at
    assert late[0].left_at - came_at[0] >= 0.049


async def test_who_has_got_an_answer_is_not_sent_away() -> None:
    kept = Kept(0.02, 9)
    answered, other = Sender(kept), Sender(kept)
    kept.remove(answered)
    kept.remove(answered)
    await until(lambda: other.left_at)
    assert answered.left_at == 0


async def test_who_has_waited_for_the_disk_is_kept_for_the_rest_of_its_time() -> None:
    kept = Kept(60, 9)
    late, other = Sender(kept, for_seconds=60.5), Sender(kept)
    await until(lambda: late.left_at)
    assert other.left_at == 0
