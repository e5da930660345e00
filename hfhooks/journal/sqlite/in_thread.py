"""A journal as a server reads it, in a thread of its own."""

from collections.abc import AsyncIterator, Sequence

from hfhooks.journal.changes import Changes
from hfhooks.journal.sqlite.reading import Reader
from hfhooks.model.delivery import Attempt, Recorded, Summary, Wanted
from hfhooks.model.endpoint import Published
from hfhooks.tasks import CallThread

__all__ = ["ThreadReading"]


class ThreadReading:
    """Reads without keeping the event loop waiting; see `journal.Reading`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._reads = CallThread("hfhooks-reads")
        self._changes = Changes(self.list)

    async def get(self, id: int) -> Recorded | None:
        return await self._reads.call(self._reader.get, id)

    async def attempts(self, id: int) -> Sequence[Attempt]:
        return await self._reads.call(self._reader.attempts, id)

    async def list(self, wanted: Wanted) -> Sequence[Summary]:
        return await self._reads.call(self._reader.list, wanted)

    async def counts(self) -> dict[tuple[str, str], int]:
        return await self._reads.call(self._reader.counts)

    async def endpoints(self) -> Sequence[Published]:
        return await self._reads.call(self._reader.endpoints)

    async def check(self) -> None:
        await self._reads.call(self._reader.check)

    def follow(self, after: int) -> AsyncIterator[Summary]:
        return self._changes.follow(after)
