"""How long finished deliveries are kept."""

import sqlite3

from hfhooks.journal.sqlite.schema import UNFINISHED
from hfhooks.model.retention import Retention

__all__ = ["MIB", "prune"]

SELECT_OLDEST_FINISHED = f"""
SELECT id, received_at, length(body) FROM deliveries JOIN bodies ON delivery_id = id
WHERE NOT {UNFINISHED} AND NOT pending_after ORDER BY id LIMIT ?
"""
MIB = 1024 * 1024
MOST_PRUNED = 200
MOST_PRUNED_BYTES = 4 * MIB
"""Deliveries, and bytes of them, that are deleted at once, so that no commit waits long."""
GIVE_BACK_PAGES = 512
"""Pages, of 4 KiB as a rule, that are given back to the disk at once."""


def prune(connection: sqlite3.Connection, keep: Retention, now: float) -> bool:
    """Delete the oldest deliveries that need not be kept; tell whether there may be more."""
    newest = connection.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0
    excess = _used_bytes(connection) - keep.mib * MIB
    oldest_kept = now - keep.days * 24 * 3600
    ids: list[int] = []
    pruned = 0
    for id, received_at, size in connection.execute(SELECT_OLDEST_FINISHED, (MOST_PRUNED,)):
        is_surplus = id <= newest - keep.deliveries or pruned < excess
        if pruned > MOST_PRUNED_BYTES or not (is_surplus or received_at < oldest_kept):
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
