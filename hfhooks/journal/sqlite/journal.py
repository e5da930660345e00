"""Every delivery and every attempt, in SQLite. All SQL that writes is here.

A delivery is on disk before anyone hears that it was accepted.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic_core import to_json

from hfhooks.errors import JournalError
from hfhooks.journal.sqlite.database import Database, give_back, open_database, used_bytes
from hfhooks.journal.sqlite.records import (
    IDS,
    KEPT_ANSWER,
    SELECT_ATTEMPTS,
    SELECT_ONE,
    Attempt,
    Delivery,
    delivery_of,
)

__all__ = ["Journal", "Retention", "Unfinished", "open_journal"]

SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    received_at REAL NOT NULL,
    webhook_id TEXT,
    event TEXT,
    repo TEXT,
    query TEXT NOT NULL,
    headers TEXT NOT NULL,
    is_replay INTEGER NOT NULL,
    status TEXT NOT NULL,
    due_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    started_at REAL
);
CREATE INDEX deliveries_unfinished ON deliveries (id)
    WHERE status IN ('queued', 'running', 'retrying');
CREATE UNIQUE INDEX deliveries_once ON deliveries (endpoint, webhook_id)
    WHERE webhook_id IS NOT NULL AND NOT is_replay AND status NOT IN ('failed', 'ignored');
-- Apart, because SQLite writes a row anew, with all that is in it, whenever its status changes.
CREATE TABLE bodies (
    delivery_id INTEGER PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE,
    body BLOB NOT NULL
);
CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at REAL NOT NULL,
    duration REAL NOT NULL,
    status TEXT NOT NULL,
    http_status INTEGER,
    answer BLOB NOT NULL,
    error TEXT,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
"""

# What conflicts is a duplicate.
INSERT = """
INSERT INTO deliveries
    (endpoint, received_at, webhook_id, event, repo, query, headers, is_replay, status)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
INSERT_BODY = "INSERT INTO bodies VALUES (?, ?)"
SELECT_EARLIER = """
SELECT id FROM deliveries
WHERE endpoint = ? AND webhook_id = ?
    AND webhook_id IS NOT NULL AND NOT is_replay AND status NOT IN ('failed', 'ignored')
"""
CLAIM = "UPDATE deliveries SET status = 'running', attempts = ?, started_at = ? WHERE id = ?"
# An attempt ends once, and never after a later one has begun.
FINISH = """
UPDATE deliveries SET status = :status, due_at = :due_at, attempts = :number
WHERE id = :id AND attempts <= :number AND status IN ('queued', 'running', 'retrying')
    AND NOT EXISTS (SELECT 1 FROM attempts WHERE delivery_id = :id AND number = :number)
"""
INSERT_ATTEMPT = """
INSERT INTO attempts (delivery_id, number, started_at, duration, status, http_status, answer, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
FAIL_ATTEMPT = """
UPDATE attempts SET status = 'failed', error = ? WHERE delivery_id = ? AND number = ?
"""
FAIL_DELIVERY = """
UPDATE deliveries SET status = 'failed' WHERE id = ? AND attempts = ? AND status = 'succeeded'
"""
# Not where the Hub has sent it again meanwhile.
REQUEUE = """
UPDATE OR IGNORE deliveries SET status = 'queued', due_at = NULL
WHERE id = ? AND status = 'failed'
"""
SELECT_FAILED = "SELECT id FROM deliveries WHERE status = 'failed' ORDER BY id"
DELETE_OLDER = """
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries
    WHERE received_at < ? AND status NOT IN ('queued', 'running', 'retrying') LIMIT ?
)
"""
RECOVER = """
INSERT OR IGNORE INTO attempts (delivery_id, number, started_at, duration, status, answer)
    SELECT id, attempts, started_at, 0, 'interrupted', x'' FROM deliveries
    WHERE status = 'running';
UPDATE deliveries SET status = 'queued', due_at = NULL WHERE status IN ('running', 'retrying');
"""
SELECT_UNFINISHED = """
SELECT id, endpoint,
    EXISTS (SELECT 1 FROM attempts WHERE delivery_id = id AND status = 'crashed') AS has_crashed
FROM deliveries WHERE status IN ('queued', 'running', 'retrying') ORDER BY id
"""
SELECT_OLDEST_FINISHED = """
SELECT id, received_at, length(body) FROM deliveries JOIN bodies ON delivery_id = id
WHERE status NOT IN ('queued', 'running', 'retrying') ORDER BY id LIMIT ?
"""

KEPT_HEADERS = frozenset({"content-type", "user-agent", "webhook-id"})
"""Headers that may be written to disk; never the secret, cookies or authorization."""
MIB = 1024 * 1024
MIN_FREE = 64 * MIB
"""Bytes that must be free on the disk to record a delivery: what becomes of it needs room too."""
MOST_PRUNED = 200
MOST_PRUNED_BYTES = 4 * MIB
"""Deliveries, and bytes of them, that are deleted at once, so that no commit waits long."""


@dataclass(frozen=True)
class Unfinished:
    """A delivery that still wants a handler, without its content."""

    id: int
    endpoint: str
    has_crashed: bool
    """The worker died while its handler ran."""


@dataclass(frozen=True)
class Retention:
    """How long finished deliveries are kept: until the first of these limits is reached."""

    days: float = 30
    deliveries: int = 10_000
    mib: float = 256


class Journal:
    """Records deliveries and attempts; `open_journal` makes one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claims: dict[int, tuple[int, float, int]] = {}
        """Those that are not written yet, and need not be if the attempt ends before."""
        self.path = database.path

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be recorded any more, when the disk has failed."""
        return self._database.failure

    def on_failure(self, tell: Callable[[JournalError], None]) -> None:
        """Have that told, in another thread, when it happens."""
        self._database.on_failure = tell

    async def record(self, delivery: Delivery) -> Delivery:
        """Return the delivery with its id once it is on disk.

        If the Hub has sent it before and it has not failed, what comes back has the status
        `duplicate` and the id of the earlier one. Raises `JournalError`.
        """
        insert = partial(_insert, delivery=delivery)
        id, status = await self._database.commit(insert, is_new=True)
        return delivery.but(id=id, status=status)

    def claim(self, delivery: Delivery, started_at: float) -> Delivery:
        """Note that an attempt starts, without waiting for the disk."""
        number = delivery.attempts + 1
        self._claims[delivery.id] = (number, started_at, delivery.id)
        self._database.submit(partial(self._write_claim, id=delivery.id))
        return delivery.but(attempts=number, status="running")

    def _write_claim(self, connection: sqlite3.Connection, id: int) -> None:
        if claim := self._claims.pop(id, None):
            connection.execute(CLAIM, claim)

    async def finish(
        self, delivery: Delivery, attempt: Attempt, status: str, due_at: float | None = None
    ) -> bool:
        """Keep how an attempt ended and what that makes of the delivery.

        Returns False, and keeps nothing, if that attempt has ended already or another one has
        begun. Raises `JournalError`.
        """
        self._claims.pop(delivery.id, None)
        ending = {"id": delivery.id, "number": attempt.number, "status": status, "due_at": due_at}

        def end(connection: sqlite3.Connection) -> bool:
            if not connection.execute(FINISH, ending).rowcount:
                return False
            connection.execute(INSERT_ATTEMPT, (delivery.id, *vars(attempt.cut()).values()))
            return True

        return await self._database.commit(end, can_wait=True)

    async def fail(self, id: int, number: int, error: str) -> None:
        """Note that what an attempt left to be done after its answer has failed.

        Raises `JournalError`.
        """

        def amend(connection: sqlite3.Connection) -> None:
            connection.execute(FAIL_ATTEMPT, (error[-KEPT_ANSWER:], id, number))
            connection.execute(FAIL_DELIVERY, (id, number))

        await self._database.commit(amend, can_wait=True)

    async def requeue(self, id: int) -> bool:
        """Let a delivery that failed for good be handled again; tell whether it may be.

        Raises `JournalError`.
        """
        if id not in IDS:
            return False
        return await self._database.commit(
            lambda connection: connection.execute(REQUEUE, (id,)).rowcount == 1
        )

    async def prune(self, before: float) -> int:
        """Delete what is finished and was received before; count it. Raises `JournalError`."""
        deleted = 0
        while True:
            more = await self._database.commit(
                lambda connection: connection.execute(DELETE_OLDER, (before, MOST_PRUNED)).rowcount
            )
            deleted += more
            if more < MOST_PRUNED:
                return deleted

    def failed(self) -> list[int]:
        """Return the ids of the deliveries that failed for good, in order of arrival."""
        return self._database.read(lambda row: int(row[0]), SELECT_FAILED)

    def unfinished(self) -> list[Unfinished]:
        """Return the deliveries that still want a handler, in order of arrival."""
        return self._database.read(_unfinished, SELECT_UNFINISHED)

    def get(self, id: int) -> Delivery | None:
        """Return one delivery."""
        return next(iter(self._database.read(delivery_of, SELECT_ONE, id)), None)

    def attempts(self, id: int) -> list[Attempt]:
        """Return the attempts at a delivery that have ended, the first one first."""
        return self._database.read(lambda row: Attempt(*row), SELECT_ATTEMPTS, id)

    def close(self) -> None:
        """Finish the writes that are waiting and close the file."""
        self._database.close()


def open_journal(
    folder: Path,
    *,
    holder: str = "another server",
    retention: Retention | None = Retention(),  # it is frozen
    min_free: int = MIN_FREE,
    now: Callable[[], float] = time.time,
) -> Journal:
    """Open the journal in this folder, making both as needed, for this process alone.

    Whatever is unfinished in it is queued. `holder` is what others are told who want it too.
    Without a `retention` nothing is deleted.
    Raises `JournalError` when another process has it, or it cannot be used.
    """
    database = open_database(
        folder.absolute() / "journal.db",
        holder=holder,
        version=SCHEMA_VERSION,
        schema=SCHEMA,
        on_open=RECOVER,
        chore=partial(_prune, retention=retention, now=now) if retention else _nothing,
        min_free=min_free,
    )
    return Journal(database)


def _nothing(connection: sqlite3.Connection) -> bool:
    return False


def _insert(connection: sqlite3.Connection, delivery: Delivery) -> tuple[int, str]:
    """Add a delivery; return its id and status, or those of the earlier one it is a copy of."""
    of_the_hub = (delivery.endpoint, delivery.webhook_id)
    may_conflict = delivery.is_replay or delivery.status != "ignored"
    earlier = None if may_conflict else connection.execute(SELECT_EARLIER, of_the_hub).fetchone()
    if earlier:
        return earlier[0], "duplicate"
    kept = [header for header in delivery.headers if header[0] in KEPT_HEADERS]
    inserted = connection.execute(
        INSERT,
        (
            delivery.endpoint,
            delivery.received_at,
            delivery.webhook_id,
            delivery.event,
            delivery.repo,
            delivery.query,
            to_json(kept).decode(),
            delivery.is_replay,
            delivery.status,
        ),
    )
    if not inserted.rowcount:
        return connection.execute(SELECT_EARLIER, of_the_hub).fetchone()[0], "duplicate"
    id = inserted.lastrowid or 0
    connection.execute(INSERT_BODY, (id, delivery.body))
    return id, delivery.status


def _prune(connection: sqlite3.Connection, retention: Retention, now: Callable[[], float]) -> bool:
    """Delete the oldest deliveries that need not be kept; tell whether there may be more."""
    newest = connection.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0
    excess = used_bytes(connection) - retention.mib * MIB
    oldest_kept = now() - retention.days * 24 * 3600
    ids: list[int] = []
    pruned = 0
    for id, received_at, size in connection.execute(SELECT_OLDEST_FINISHED, (MOST_PRUNED,)):
        is_surplus = id <= newest - retention.deliveries or pruned < excess
        if pruned > MOST_PRUNED_BYTES or not (is_surplus or received_at < oldest_kept):
            break
        ids.append(id)
        pruned += size
    connection.executemany("DELETE FROM deliveries WHERE id = ?", [(id,) for id in ids])
    return bool(ids) or give_back(connection)


def _unfinished(row: sqlite3.Row) -> Unfinished:
    return Unfinished(row["id"], row["endpoint"], bool(row["has_crashed"]))
