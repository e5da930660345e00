"""What an owner has done to what is recorded in a SQLite file."""

from collections.abc import Sequence
from functools import partial

from hfhooks.journal.backlog import Backlog
from hfhooks.journal.changes import Changes
from hfhooks.journal.sqlite import writing
from hfhooks.journal.sqlite.database import Database
from hfhooks.journal.unfinished import Unfinished
from hfhooks.model.delivery import Wanted
from hfhooks.model.endpoint import Published

__all__ = ["Commands"]

MOST_PRUNED = 200
"""Deliveries that are deleted at once, so that no commit waits long."""


class Commands:
    """See `journal.Journal`."""

    _database: Database
    _unfinished: Unfinished
    _changes: Changes
    backlog: Backlog

    async def requeue(self, wanted: Wanted) -> Sequence[int]:
        rows = await self._database.commit(partial(writing.requeue, wanted=wanted))
        for row in rows:
            self._unfinished.drop(row.id)
            self._unfinished.wait(row.waiting)
        self._changes.tell(row.id for row in rows)
        return [row.id for row in rows]

    async def cancel(self, wanted: Wanted) -> Sequence[int]:
        ids = await self._database.commit(partial(writing.cancel, wanted=wanted))
        for id in ids:
            self._unfinished.drop(id)
        self._changes.tell(ids)
        return ids

    async def publish(self, endpoints: Sequence[Published]) -> None:
        self.backlog.serve(each.endpoint.name for each in endpoints)
        publish = partial(writing.publish, endpoints=endpoints)
        await self._database.commit(publish, can_wait=True)

    async def prune(self, before: float) -> int:
        some, deleted = partial(writing.delete_older, before=before, most=MOST_PRUNED), 0
        while more := await self._database.commit(some):
            deleted += more
        return deleted
