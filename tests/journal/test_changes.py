import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hfhooks.journal.changes import MOST_AT_ONCE, Changes
from hfhooks.journal.store import Row
from hfhooks.model.delivery import Summary, Wanted
from tests.harness import until
from tests.journal.engines import NEW

Seen = list[tuple[int, str]]


class Deliveries:
    """What there is, by id; `looks` are the looks at it."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = dict(enumerate(statuses, 1))
        self.looks: list[Wanted] = []
        self.changes = Changes(self.list)

    async def list(self, wanted: Wanted) -> Sequence[Summary]:
        self.looks.append(wanted)
        found = [
            Row(id, NEW, status, 0.0).summary
            for id, status in self.statuses.items()
            if id > wanted.after and (wanted.ids is None or id in wanted.ids)
        ]
        return found[::-1][: wanted.limit]

    def change(self, *ids: int, status: str = "running") -> None:
        self.statuses |= dict.fromkeys(ids, status)
        self.changes.tell(ids)

    @asynccontextmanager
    async def followed(self, after: int = 0) -> AsyncIterator[Seen]:
        """Yield what a follower sees, as it comes."""
        seen: Seen = []

        async def follow() -> None:
            async for each in self.changes.follow(after):
                seen.append((each.id, each.status))  # it is looked at meanwhile

        looks = len(self.looks)
        following = asyncio.ensure_future(follow())
        await until(lambda: len(self.looks) > looks)
        yield seen
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_what_is_there_comes_first_and_in_order() -> None:
    async with Deliveries("queued", "failed", "queued").followed(after=1) as seen:
        await until(lambda: seen == [(2, "failed"), (3, "queued")])


async def test_what_changes_comes_as_it_is_then() -> None:
    deliveries = Deliveries("queued", "queued")
    async with deliveries.followed(after=2) as seen:
        deliveries.change(2)
        await until(lambda: seen == [(2, "running")])
        deliveries.change(1, 2, status="failed")
        await until(lambda: seen[1:] == [(1, "failed"), (2, "failed")])


async def test_what_changes_twice_before_it_is_looked_at_comes_once() -> None:
    deliveries = Deliveries("queued", "queued")
    async with deliveries.followed(after=2) as seen:
        deliveries.change(1)
        deliveries.change(1, status="failed")
        deliveries.change(2)
        await until(lambda: seen == [(1, "failed"), (2, "running")])


async def test_what_comes_while_the_first_ones_are_looked_at_is_not_missed() -> None:
    deliveries = Deliveries("queued")
    async with deliveries.followed() as seen:
        deliveries.change(1, 2, status="failed")
        await until(lambda: {(1, "failed"), (2, "failed")} <= set(seen))


async def test_all_who_follow_see_every_change() -> None:
    deliveries = Deliveries("queued")
    async with deliveries.followed(1) as first, deliveries.followed(1) as second:
        deliveries.changes.tell(id for id in (1,))
        await until(lambda: first == second == [(1, "queued")])


async def test_many_changes_are_read_in_parts() -> None:
    deliveries = Deliveries(*["queued"] * (2 * MOST_AT_ONCE + 1))
    async with deliveries.followed(after=len(deliveries.statuses)) as seen:
        deliveries.change(*deliveries.statuses)
        await until(lambda: len(seen) == len(deliveries.statuses))
    sizes = [len(look.ids) for look in deliveries.looks if look.ids is not None]
    assert sizes == [MOST_AT_ONCE, MOST_AT_ONCE, 1]


async def test_what_is_deleted_meanwhile_is_not_told() -> None:
    deliveries = Deliveries("queued", "queued")
    async with deliveries.followed(after=2) as seen:
        deliveries.changes.tell([1, 2])
        del deliveries.statuses[1]
        await until(lambda: seen)
    assert seen == [(2, "queued")]
