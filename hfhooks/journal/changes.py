"""Who follows the changes of deliveries, in the process that makes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from hfhooks.model.delivery import Summary, Wanted

__all__ = ["Changes"]

MOST_AT_ONCE = 200


class Changes:
    """Tells everyone who follows which deliveries have changed; `list` reads what they are now."""

    def __init__(self, list: Callable[[Wanted], Awaitable[Sequence[Summary]]]) -> None:
        self._list = list
        self._followers: set[_Follower] = set()

    def tell(self, ids: Iterable[int], _: object = None) -> None:
        """Note that these have changed, whatever that has returned."""
        changed = dict.fromkeys(ids)
        for follower in self._followers:
            follower.changed.update(changed)
            follower.told.set()

    async def follow(self, after: int) -> AsyncIterator[Summary]:
        """Yield those with a later id, then each that changes, as it is when it is read."""
        follower = _Follower()
        self._followers.add(follower)
        try:
            while earlier := (await self._list(Wanted(after=after, limit=1_000_000)))[::-1]:
                for each in earlier:
                    yield each
                after = earlier[-1].id
            while True:
                await follower.told.wait()
                follower.told.clear()
                while ids := follower.take():
                    for each in (await self._list(Wanted(ids=ids, limit=len(ids))))[::-1]:
                        yield each
        finally:
            self._followers.discard(follower)


class _Follower:
    def __init__(self) -> None:
        self.changed: dict[int, None] = {}
        """Ids, in the order in which they changed first."""
        self.told = asyncio.Event()

    def take(self) -> list[int]:
        ids = list(self.changed)[:MOST_AT_ONCE]
        for id in ids:
            del self.changed[id]
        return ids
