"""What a journal holds, as it is read: deliveries and the attempts at them."""

import json
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path

from hfhooks.errors import JournalError
from hfhooks.journal.sqlite.reading import Reader

__all__ = [
    "IDS",
    "KEPT_ANSWER",
    "SELECT_ATTEMPTS",
    "SELECT_ONE",
    "Attempt",
    "Delivery",
    "Records",
    "Summary",
    "Wanted",
    "delivery_of",
]

SELECT_ONE = """
SELECT id, endpoint, received_at, webhook_id, event, repo, query, headers, body, is_replay, status,
    attempts,
    (SELECT count(*) FROM attempts AS a WHERE a.delivery_id = id AND a.status = 'failed')
        AS failures,
    (SELECT count(*) FROM attempts AS a WHERE a.delivery_id = id AND a.status = 'crashed')
        AS crashes
FROM deliveries JOIN bodies ON bodies.delivery_id = id WHERE id = ?
"""
SELECT_ATTEMPTS = """
SELECT number, started_at, duration, status, http_status, answer, error
FROM attempts WHERE delivery_id = ? ORDER BY number
"""
SELECT_SUMMARIES = """
SELECT id, received_at, endpoint, event, repo, status, attempts, is_replay,
    (SELECT duration FROM attempts WHERE delivery_id = id ORDER BY number DESC LIMIT 1)
        AS duration,
    (SELECT http_status FROM attempts WHERE delivery_id = id ORDER BY number DESC LIMIT 1)
        AS http_status
FROM deliveries
WHERE id > :after
    AND (:endpoint IS NULL OR endpoint = :endpoint)
    AND (:status IS NULL OR status = :status)
    AND (:event IS NULL OR event = :event OR event GLOB :event || '[.:]*')
    AND (:repo IS NULL OR repo GLOB :repo OR repo GLOB '*:' || :repo)
    AND received_at >= :since
ORDER BY id DESC LIMIT :limit
"""
IDS = range(1, 1 << 63)
"""What SQLite can number."""
KEPT_ANSWER = 4096
"""Bytes of a handler's answer, and characters of its traceback, that are kept."""


@dataclass(frozen=True)
class Delivery:
    """One request received. `id` is 0 until it is recorded."""

    endpoint: str
    received_at: float
    """Seconds since 1970."""
    query: str
    """Without the secret."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """As they came, with the secret; few of them are recorded."""
    body: bytes
    event: str | None = None
    """`scope:action`."""
    repo: str | None = None
    """`type:owner/name`."""
    webhook_id: str | None = None
    """The Hub's own id, the same on its retries."""
    is_replay: bool = False
    status: str = "queued"
    id: int = 0
    attempts: int = 0
    """How many times a handler was called for it."""
    failures: int = 0
    """How many of these raised, or answered with an error."""
    crashes: int = 0
    """How many of these ended the worker."""

    def but(self, **changes: object) -> "Delivery":
        """Return it with some fields changed, in a fifth of the time of `dataclasses.replace`."""
        changed = object.__new__(Delivery)
        vars(changed).update(vars(self), **changes)
        return changed


@dataclass(frozen=True)
class Summary:
    """A delivery in one line."""

    id: int
    received_at: float
    endpoint: str
    event: str | None
    repo: str | None
    status: str
    attempts: int
    is_replay: bool
    duration: float | None
    """Seconds, of the last attempt that has ended."""
    http_status: int | None
    """Of that attempt."""


@dataclass(frozen=True)
class Wanted:
    """Which deliveries to list; what is None, or nothing, matters not."""

    endpoint: str | None = None
    status: str | None = None
    event: str | None = None
    """`scope`, which includes its narrower scopes, or `scope:action`."""
    repo: str | None = None
    """`type:owner/name` or `owner/name`, globs allowed."""
    since: float = 0.0
    """Seconds since 1970."""
    after: int = 0
    """An id."""
    limit: int = 20


@dataclass(frozen=True)
class Attempt:
    """How one call of a handler ended."""

    number: int
    started_at: float
    duration: float
    """Seconds."""
    status: str
    """`succeeded`, `failed`, `crashed` with the worker, or `interrupted` by the server's end."""
    http_status: int | None = None
    answer: bytes = b""
    error: str | None = None

    def cut(self) -> "Attempt":
        """Return as much of it as is kept."""
        if len(self.answer) <= KEPT_ANSWER and len(self.error or "") <= KEPT_ANSWER:
            return self
        error = self.error and self.error[-KEPT_ANSWER:]
        return replace(self, answer=self.answer[:KEPT_ANSWER], error=error)


class Records:
    """What a journal holds, read beside the server that writes it, or without one.

    Raises `JournalError` where there is none, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def health(self) -> str:
        """Say in a few words what is in it. Raises `JournalError` if it is damaged."""
        verdict = self._reader.rows(tuple, "PRAGMA quick_check(1)")[0][0]
        if verdict != "ok":
            raise JournalError(f"damaged: {verdict}")
        counted = "SELECT status, count(*) FROM deliveries GROUP BY status ORDER BY status"
        counts = [f"{number} {status}" for status, number in self._reader.rows(tuple, counted)]
        return ", ".join(counts) or "empty"

    def delivery(self, id: int) -> Delivery | None:
        """Return one delivery."""
        if id not in IDS:
            return None
        return next(iter(self._reader.rows(delivery_of, SELECT_ONE, id)), None)

    def attempts(self, id: int) -> list[Attempt]:
        """Return the attempts at a delivery that have ended, the first one first."""
        return self._reader.rows(lambda row: Attempt(*row), SELECT_ATTEMPTS, id)

    def summaries(self, wanted: "Wanted") -> list[Summary]:
        """Return what is wanted, the newest first."""
        return self._reader.rows(_summary, SELECT_SUMMARIES, vars(wanted))


def delivery_of(row: sqlite3.Row) -> Delivery:
    headers = tuple((name, value) for name, value in json.loads(row["headers"]))
    return Delivery(**{**dict(row), "headers": headers, "is_replay": bool(row["is_replay"])})


def _summary(row: sqlite3.Row) -> Summary:
    return Summary(**{**dict(row), "is_replay": bool(row["is_replay"])})
