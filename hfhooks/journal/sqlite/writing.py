"""All SQL that writes. Each function is called within a transaction."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic_core import to_json

from hfhooks.journal.sqlite.holder import DIED, STOPPED, UNKNOWN
from hfhooks.journal.sqlite.migrating import bring_up, keep_earlier
from hfhooks.journal.sqlite.reading import (
    BODY_SIZE,
    CRASHED,
    IS_SUSPECT,
    MATCHES,
    Left,
    matches,
    parameters,
)
from hfhooks.journal.sqlite.schema import ONCE, UNFINISHED
from hfhooks.model.delivery import (
    KEPT_ANSWER,
    MOST_CRASHES,
    Attempt,
    Claim,
    Recorded,
    Verdict,
    Wanted,
)
from hfhooks.model.endpoint import Published

__all__ = [
    "amend",
    "be_due",
    "cancel",
    "claim",
    "delete_older",
    "finish",
    "insert",
    "is_used",
    "prepare",
    "publish",
    "release",
    "requeue",
    "shift",
]

# What conflicts is a duplicate.
INSERT = """
INSERT INTO deliveries (endpoint, received_at, webhook_id, event, repo, query, headers, origin,
    status, attempt_count, started_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
INSERT_BODY = "INSERT INTO bodies VALUES (?, ?)"
SELECT_EARLIER = f"SELECT id FROM deliveries WHERE endpoint = ? AND webhook_id = ? AND {ONCE}"
CLAIM = f"""
UPDATE deliveries SET status = 'running', attempt_count = ?, started_at = ?, due_at = NULL
WHERE id = ? AND {UNFINISHED}
"""
RELEASE = """
UPDATE deliveries SET status = 'queued', attempt_count = attempt_count - 1
WHERE id = ? AND attempt_count = ? AND status = 'running'
"""
# An attempt ends once, and never after a later one has begun.
FINISH_FIRST = f"""
UPDATE deliveries SET status = ?, due_at = ?, is_pause_asked = ?, attempt_count = 1,
    sent_status = coalesce(sent_status, ?), started_at = coalesce(?, started_at),
    first_started_at = ?, first_duration = ?, first_status = ?,
    first_http_status = ?, first_answer = ?, first_error = ?
WHERE id = ? AND attempt_count <= 1 AND first_status IS NULL AND {UNFINISHED}
"""
FINISH_FURTHER = f"""
UPDATE deliveries SET status = ?, due_at = ?, is_pause_asked = ?,
    sent_status = coalesce(sent_status, ?), started_at = coalesce(?, started_at), attempt_count = ?6
WHERE id = ? AND attempt_count <= ?6 AND {UNFINISHED}
    AND NOT EXISTS (SELECT 1 FROM further_attempts WHERE delivery_id = id AND number = ?6)
"""
INSERT_FURTHER = "INSERT INTO further_attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
# Apart: most deliveries leave nothing to be done, and are not to look at one more index.
LEAVE_PENDING = "UPDATE deliveries SET pending_after = 1 WHERE id = ?"
AMEND_FIRST = "UPDATE deliveries SET first_status = ?, first_error = ? WHERE id = ?"
AMEND_FURTHER = """
UPDATE further_attempts SET status = ?, error = ? WHERE delivery_id = ? AND number = ?
"""
AMEND_DELIVERY = """
UPDATE deliveries SET status = ?, pending_after = 0
WHERE id = ? AND attempt_count = ? AND status = 'succeeded'
"""
SELECT_REQUEUED = f"""
SELECT id, endpoint, received_at, 0, {IS_SUSPECT}, {BODY_SIZE} FROM deliveries
WHERE status IN ('failed', 'retrying') AND {{matches}} ORDER BY id
"""
# Not where the Hub has sent it again meanwhile.
REQUEUE = """
UPDATE OR IGNORE deliveries SET status = 'queued', due_at = 0, is_pause_asked = 0
WHERE id = ? AND status IN ('failed', 'retrying')
"""
SELECT_CANCELLED = f"SELECT id FROM deliveries WHERE {UNFINISHED} AND {MATCHES} ORDER BY id"
CANCEL = f"UPDATE deliveries SET status = 'cancelled', due_at = NULL WHERE id = ? AND {UNFINISHED}"
BE_DUE = "UPDATE deliveries SET due_at = ?, started_at = min(started_at, ?) WHERE id = ?"
SHIFT = f"""
UPDATE deliveries SET due_at = due_at + ?, started_at = started_at + ?
WHERE {UNFINISHED} AND status = 'retrying'
"""
DELETE_OLDER = f"""
DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries
    WHERE received_at < ? AND NOT {UNFINISHED} AND NOT pending_after LIMIT ?
)
"""
# What an earlier process has left running; what is due later stays due later. A suspect ran alone.
RECOVER_FIRST = f"""
UPDATE deliveries SET first_status = :beside, first_started_at = started_at, first_duration = 0,
    first_answer = x'', first_error = :why
    WHERE {UNFINISHED} AND status = 'running' AND attempt_count = 1 AND first_status IS NULL
"""
RECOVER_FURTHER = f"""
INSERT OR IGNORE INTO further_attempts
    (delivery_id, number, started_at, duration, status, answer, error)
    SELECT id, attempt_count, started_at, 0, CASE WHEN {IS_SUSPECT} THEN :alone ELSE :beside END,
        x'', :why FROM deliveries
    WHERE {UNFINISHED} AND status = 'running' AND attempt_count > 1
"""
GIVE_UP = f"""
UPDATE deliveries SET status = 'failed', due_at = NULL WHERE {UNFINISHED} AND status = 'running'
    AND {CRASHED} >= {MOST_CRASHES}
RETURNING id
"""
QUEUE = f"""
UPDATE deliveries SET status = 'queued', due_at = NULL WHERE {UNFINISHED} AND status = 'running'
"""
WHY = "The server died while this handler ran."
BECOMES = {
    DIED: ("crashed", "lost"),
    UNKNOWN: ("lost", "lost"),
    STOPPED: ("interrupted", "interrupted"),
}
"""What an attempt that ran alone, and one that ran beside others, becomes by a server's end."""
IS_USED = "SELECT EXISTS (SELECT 1 FROM sqlite_sequence), EXISTS (SELECT 1 FROM endpoints)"
INSERT_ENDPOINT = "INSERT INTO endpoints (published) VALUES (?)"


def prepare(
    connection: sqlite3.Connection, end_of_the_last: str, path: Path, given_up: list[int]
) -> None:
    """Make the tables what is expected, and queue what an earlier process has left running.

    Adds to `given_up` the deliveries that have ended the process too often.
    """
    keep_earlier(connection, path)
    bring_up(connection, path)
    alone, beside = BECOMES[end_of_the_last]
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(RECOVER_FIRST, {"beside": beside, "why": WHY})
    connection.execute(RECOVER_FURTHER, {"alone": alone, "beside": beside, "why": WHY})
    given_up += [id for (id,) in connection.execute(GIVE_UP).fetchall()]
    connection.execute(QUEUE)
    connection.execute("COMMIT")


def insert(
    connection: sqlite3.Connection, delivery: Recorded, taken_at: float | None
) -> tuple[int, str]:
    """Add a delivery; return its id and status, or those of the earlier one it is a copy of."""
    of_the_hub = (delivery.endpoint, delivery.webhook_id)
    may_conflict = delivery.origin == "replay" or delivery.status != "ignored"
    earlier = None if may_conflict else connection.execute(SELECT_EARLIER, of_the_hub).fetchone()
    if earlier:
        return earlier[0], "duplicate"
    status = delivery.status if taken_at is None else "running"
    inserted = connection.execute(
        INSERT,
        (
            delivery.endpoint,
            delivery.received_at,
            delivery.webhook_id,
            delivery.event,
            delivery.repo,
            delivery.kept_query,
            to_json(delivery.kept_headers).decode(),
            delivery.origin,
            status,
            0 if taken_at is None else 1,
            taken_at,
        ),
    )
    if not inserted.rowcount:
        return connection.execute(SELECT_EARLIER, of_the_hub).fetchone()[0], "duplicate"
    id = inserted.lastrowid or 0
    connection.execute(INSERT_BODY, (id, delivery.body))
    return id, status


def is_used(connection: sqlite3.Connection) -> bool:
    """Tell whether there has ever been a delivery, or an endpoint is published."""
    return any(connection.execute(IS_USED).fetchone())


def claim(connection: sqlite3.Connection, id: int, number: int, started_at: float) -> None:
    """Note that this attempt has started."""
    connection.execute(CLAIM, (number, started_at, id))


def release(connection: sqlite3.Connection, claims: Sequence[Claim]) -> None:
    """Note that these attempts have not started."""
    connection.executemany(RELEASE, [(claim.id, claim.number) for claim in claims])


def finish(
    connection: sqlite3.Connection,
    claim: Claim,
    attempt: Attempt,
    verdict: Verdict,
    since: float | None,
) -> bool:
    """Keep how an attempt ended; False if it has ended before, or a later one has begun.

    `since` is when the delivery begins to wait for the next one, where that is due later.
    """
    kept = attempt.cut()
    due_at = None if since is None else since + (verdict.retry_after or 0.0)
    outcome = (verdict.status, due_at, verdict.is_pause_asked, verdict.sent_status, since)
    ending = (
        kept.started_at,
        kept.duration,
        kept.status,
        kept.http_status,
        kept.answer,
        kept.error,
    )
    if claim.number == 1:
        values = (*outcome, *ending, claim.id)
        is_kept = connection.execute(FINISH_FIRST, values).rowcount > 0
    else:
        further = (*outcome, claim.number, claim.id)
        if is_kept := connection.execute(FINISH_FURTHER, further).rowcount > 0:
            connection.execute(INSERT_FURTHER, (claim.id, claim.number, *ending))
    if is_kept and verdict.pending_after:
        connection.execute(LEAVE_PENDING, (claim.id,))
    return is_kept


def amend(
    connection: sqlite3.Connection, id: int, number: int, error: str | None, status: str
) -> None:
    """Keep that what an attempt left to be done is done, or has failed."""
    if error is not None:
        kept = (status, error[-KEPT_ANSWER:])
        if number == 1:
            connection.execute(AMEND_FIRST, (*kept, id))
        else:
            connection.execute(AMEND_FURTHER, (*kept, id, number))
    became = "succeeded" if error is None else "failed"
    connection.execute(AMEND_DELIVERY, (became, id, number))


def requeue(connection: sqlite3.Connection, wanted: Wanted) -> list[Left]:
    """Make deliveries due; return them."""
    query = SELECT_REQUEUED.format(matches=matches(wanted))
    found = connection.execute(query, parameters(wanted)).fetchall()
    rows = [Left(*row) for row in found]
    return [row for row in rows if connection.execute(REQUEUE, (row.id,)).rowcount]


def cancel(connection: sqlite3.Connection, wanted: Wanted) -> list[int]:
    """End deliveries; return their ids."""
    found = connection.execute(SELECT_CANCELLED, parameters(wanted)).fetchall()
    return [id for (id,) in found if connection.execute(CANCEL, (id,)).rowcount]


def be_due(connection: sqlite3.Connection, at: Mapping[int, float], now: float) -> None:
    """Have deliveries that wait be due at these times."""
    connection.executemany(BE_DUE, [(due_at, now, id) for id, due_at in at.items()])


def shift(connection: sqlite3.Connection, seconds: float) -> None:
    """Have all that wait be due so many seconds later, and so since when they do."""
    connection.execute(SHIFT, (seconds, seconds))


def publish(connection: sqlite3.Connection, endpoints: Sequence[Published]) -> None:
    """Keep these endpoints alone."""
    connection.execute("DELETE FROM endpoints")
    rows = [(json.dumps(endpoint.as_json()),) for endpoint in endpoints]
    connection.executemany(INSERT_ENDPOINT, rows)


def delete_older(connection: sqlite3.Connection, before: float, most: int) -> int:
    """Delete some of the finished ones that were received before; count them."""
    return connection.execute(DELETE_OLDER, (before, most)).rowcount
