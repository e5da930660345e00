"""How long finished deliveries are kept."""

import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from hfhooks.journal.sqlite.schema import UNFINISHED
from hfhooks.model.retention import Retention

__all__ = ["MIB", "Jump", "Pruning", "prune"]

SELECT_NEWEST = "SELECT id, received_at FROM deliveries ORDER BY id DESC LIMIT 1"
SELECT_OLDEST_FINISHED = f"""
SELECT id, received_at, length(body) FROM deliveries JOIN bodies ON delivery_id = id
WHERE NOT {UNFINISHED} AND NOT pending_after ORDER BY id LIMIT ?
"""
MIB = 1024 * 1024
MOST_PRUNED = 200
MOST_PRUNED_BYTES = 4 * MIB
"""Deliveries, and bytes of them, that are deleted at once, so that no commit waits long."""
DAY = 24 * 3600.0
"""Seconds beyond which a clock has jumped, or nothing has come for so long."""
GIVE_BACK_PAGES = 512
"""Pages, of 4 KiB as a rule, that are given back to the disk at once."""


class Jump(NamedTuple):
    """That a clock has gone forward, by so many seconds, when so many deliveries had come."""

    at: int = 0
    """The number of the last delivery that had come."""
    seconds: float = 0.0


NO_JUMP = Jump()


class Pruning:
    """Deletes what need not be kept, by a clock that may jump; `begin` comes first.

    `now` tells seconds since 1970, `monotonic` those since any moment.
    """

    def __init__(
        self,
        keep: Retention | None,
        now: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep, self._now, self._monotonic = keep, now, monotonic
        self._jump = NO_JUMP
        self._offset = 0.0

    def begin(self, connection: sqlite3.Connection) -> None:
        """Look when the newest delivery came, since when the clock may have jumped."""
        self._offset = self._now() - self._monotonic()
        for id, received_at in connection.execute(SELECT_NEWEST):
            self._note(id, self._now() - received_at)

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """Delete some of it; tell whether there may be more."""
        now = self._now()
        before, self._offset = self._offset, now - self._monotonic()
        for id, _ in connection.execute(SELECT_NEWEST):
            self._note(id, self._offset - before)
        return self._keep is not None and prune(connection, self._keep, now, self._jump)

    def _note(self, newest: int, seconds: float) -> None:
        if seconds > DAY:
            self._jump = Jump(newest, self._jump.seconds + seconds)


def prune(
    connection: sqlite3.Connection, keep: Retention, now: float, jump: Jump = NO_JUMP
) -> bool:
    """Delete the oldest deliveries that need not be kept; tell whether there may be more.

    What had come before a jump of the clock is no older for it.
    """
    newest = connection.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0
    excess = _used_bytes(connection) - keep.mib * MIB
    oldest_kept = now - keep.days * DAY
    ids: list[int] = []
    pruned = 0
    for id, received_at, size in connection.execute(SELECT_OLDEST_FINISHED, (MOST_PRUNED,)):
        is_surplus = id <= newest - keep.deliveries or pruned < excess
        is_old = received_at < oldest_kept - (jump.seconds if id <= jump.at else 0.0)
        if pruned > MOST_PRUNED_BYTES or not (is_surplus or is_old):
            break
        ids.append(id)
        pruned += size
    connection.executemany("DELETE FROM deliveries WHERE id = ?", [(id,) for id in ids])
    return bool(ids) or _give_back(connection)


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Return how much of the file holds something."""
    pages, free = _pages(connection)
    return (pages - free) * int(connection.execute("PRAGMA page_size").fetchone()[0])


def _give_back(connection: sqlite3.Connection) -> bool:
    """Make a file that is mostly empty smaller, a part at a time; tell whether it was."""
    pages, free = _pages(connection)
    if free * 2 < pages or free < GIVE_BACK_PAGES:
        return False
    for _ in range(GIVE_BACK_PAGES):  # one at a time: Python 3.11 ends this pragma after one
        connection.execute("PRAGMA incremental_vacuum(1)").fetchall()
    return True


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many pages the file has, and how many of them are empty."""
    names = ("page_count", "freelist_count")
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return pages, free
