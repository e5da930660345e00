"""What a journal holds, as it is read: beside the server that writes it, or without one."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hfhooks.errors import JournalError
from hfhooks.journal.due import Waiting
from hfhooks.journal.sqlite.files import connect, explained
from hfhooks.journal.sqlite.migrating import bring_up, version_of
from hfhooks.journal.sqlite.schema import UNFINISHED as IS_UNFINISHED
from hfhooks.journal.sqlite.schema import VERSION
from hfhooks.model.delivery import UNFINISHED, Attempt, Recorded, Summary, Wanted
from hfhooks.model.endpoint import Published

__all__ = [
    "BODY_SIZE",
    "CRASHED",
    "IS_SUSPECT",
    "IDS",
    "MATCHES",
    "FileReading",
    "Left",
    "Reader",
    "matches",
    "parameters",
]

T = TypeVar("T")
IDS = range(1, 1 << 63)
"""What SQLite can number."""
LOOK_EVERY = 0.3
"""Seconds between two looks whether there is something new."""
NEWEST = 1000
"""Deliveries, the newest, of which changes are seen though they were finished."""
MOST = 1_000_000
"""Deliveries that are looked at."""
CRASHED = """
(first_status IS 'crashed') + (SELECT count(*) FROM further_attempts AS a
    WHERE a.delivery_id = id AND a.status = 'crashed')
"""
IS_SUSPECT = """
first_status IS 'crashed' OR first_status IS 'lost' OR EXISTS
    (SELECT 1 FROM further_attempts AS a
        WHERE a.delivery_id = id AND (a.status = 'crashed' OR a.status = 'lost'))
"""
SELECT_ONE = f"""
SELECT id, endpoint, received_at, webhook_id, event, repo, query, headers, body, origin, status,
    attempt_count,
    (first_status IS 'raised' OR first_status IS 'timed_out')
        + (SELECT count(*) FROM further_attempts AS a WHERE a.delivery_id = id
            AND (a.status = 'raised' OR a.status = 'timed_out')) AS raised,
    {CRASHED} AS crashed, {IS_SUSPECT} AS is_suspect
FROM deliveries JOIN bodies ON bodies.delivery_id = id WHERE id = ?
"""
SELECT_ATTEMPTS = """
SELECT number, started_at, duration, status, http_status, answer, error
FROM attempts WHERE delivery_id = ? ORDER BY number
"""
MATCHES = """
id > :after
    AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
    AND (:endpoint IS NULL OR endpoint = :endpoint)
    AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
    AND (:event IS NULL OR event = :event OR event GLOB :event || '[.:]*')
    AND (:repo IS NULL OR repo GLOB :repo OR repo GLOB '*:' || :repo)
    AND (:origin IS NULL OR origin = :origin)
    AND (:is_pause_asked IS NULL OR is_pause_asked = :is_pause_asked)
    AND (:pending_after IS NULL OR pending_after = :pending_after)
    AND (:since <= 0 OR received_at >= :since)
"""
SELECT_SUMMARIES = """
SELECT id, received_at, endpoint, event, repo, wanted.status, origin, attempt_count, webhook_id,
    sent_status, CASE wanted.status WHEN 'retrying' THEN due_at END AS due_at,
    CASE WHEN number IS NULL THEN first_duration ELSE last.duration END AS duration,
    CASE WHEN number IS NULL THEN first_http_status ELSE last.http_status END AS http_status,
    pending_after
FROM (SELECT * FROM deliveries WHERE {matches} ORDER BY id DESC LIMIT :limit) AS wanted
    LEFT JOIN further_attempts AS last ON delivery_id = id
    AND number = (SELECT max(number) FROM further_attempts WHERE delivery_id = id)
ORDER BY id DESC
"""
SELECT_COUNTS = "SELECT endpoint, status, count(*) FROM deliveries GROUP BY endpoint, status"
SELECT_ENDPOINTS = "SELECT published FROM endpoints ORDER BY position"
BODY_SIZE = "coalesce((SELECT length(body) FROM bodies WHERE delivery_id = id), 0)"
SELECT_UNFINISHED = f"""
SELECT id, endpoint, received_at, due_at, {IS_SUSPECT}, {BODY_SIZE}, started_at, is_pause_asked
FROM deliveries WHERE {IS_UNFINISHED} ORDER BY id
"""


class Left(NamedTuple):
    """A delivery that still wants a handler, without its content."""

    id: int
    endpoint: str
    received_at: float
    due_at: float | None
    is_suspect: bool
    size: int
    """Bytes of its body."""
    since: float | None = None
    """When it began to wait, where it is due later."""
    is_pause_asked: bool = False

    @property
    def waiting(self) -> Waiting:
        """What that is to who gives turns."""
        since = self.received_at if self.due_at is None else self.due_at
        return Waiting(since, self.id, self.endpoint, self.is_suspect, self.size)


class Reader:
    """Reads a journal, also beside the process that writes it, and waits until it has read.

    Raises `JournalError` where there is none, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = connect(f"{path.as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise JournalError(f"{path}: {error}.") from error
        self._connection.row_factory = sqlite3.Row
        try:
            # SQLite opens the file at the first query; until then the writer thinks it is alone.
            self.rows(tuple, "SELECT count(*) FROM sqlite_schema")
            if version_of(self._connection, path) not in (0, VERSION):
                self._read_copy()
        except BaseException:
            self._connection.close()
            raise

    def _read_copy(self) -> None:
        """Read what an earlier version has made as this one would, without touching the file."""
        try:
            copy = connect(":memory:")
            with closing(self._connection) as original:
                original.backup(copy)
            bring_up(copy, self._path)
        except sqlite3.Error as error:
            raise explained(self._path, error) from error
        copy.row_factory = sqlite3.Row
        self._connection = copy

    def rows(self, convert: Callable[[sqlite3.Row], T], query: str, *values: Any) -> Sequence[T]:
        """Return the rows of a query, converted. Raises `JournalError`.

        The values are given one by one, or as a dictionary where the query names them.
        """
        given = values[0] if values and isinstance(values[0], dict) else values
        try:
            return [convert(row) for row in self._connection.execute(query, given).fetchall()]
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise explained(self._path, error) from error

    def get(self, id: int) -> Recorded | None:
        found = self.rows(_recorded, SELECT_ONE, id) if id in IDS else []
        return found[0] if found else None

    def some(self, ids: Iterable[int]) -> dict[int, Recorded]:
        """Return those of these deliveries that are there."""
        found = {id: self.get(id) for id in ids}
        return {id: delivery for id, delivery in found.items() if delivery}

    def attempts(self, id: int) -> Sequence[Attempt]:
        return self.rows(lambda row: Attempt(*row), SELECT_ATTEMPTS, id) if id in IDS else []

    def list(self, wanted: Wanted) -> Sequence[Summary]:
        return self.rows(
            lambda row: Summary(**{**dict(row), "pending_after": bool(row["pending_after"])}),
            SELECT_SUMMARIES.format(matches=matches(wanted)),
            parameters(wanted),
        )

    def counts(self) -> dict[tuple[str, str], int]:
        rows = self.rows(tuple, SELECT_COUNTS)
        return {(endpoint, status): number for endpoint, status, number in rows}

    def endpoints(self) -> Sequence[Published]:
        return self.rows(lambda row: Published.from_json(json.loads(row[0])), SELECT_ENDPOINTS)

    def unfinished(self) -> Sequence[Left]:
        """Return the deliveries that still want a handler, in order of arrival."""
        return self.rows(lambda row: Left(*row), SELECT_UNFINISHED)

    def version(self) -> int:
        """Return a number that is another one when something was written."""
        return self.rows(lambda row: int(row[0]), "PRAGMA data_version")[0]

    def check(self) -> None:
        """Look for damage. Raises `JournalError` if there is some."""
        verdict = self.rows(tuple, "PRAGMA quick_check(1)")[0][0]
        if verdict != "ok":
            raise JournalError(f"damaged: {verdict}")

    def close(self) -> None:
        self._connection.close()


class FileReading:
    """A journal as a command reads it, which has nothing else to do meanwhile."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    async def get(self, id: int) -> Recorded | None:
        return self._reader.get(id)

    async def attempts(self, id: int) -> Sequence[Attempt]:
        return self._reader.attempts(id)

    async def list(self, wanted: Wanted) -> Sequence[Summary]:
        return self._reader.list(wanted)

    async def counts(self) -> dict[tuple[str, str], int]:
        return self._reader.counts()

    async def endpoints(self) -> Sequence[Published]:
        return self._reader.endpoints()

    async def check(self) -> None:
        """Look for damage. Raises `JournalError` if there is some."""
        self._reader.check()

    async def follow(self, after: int) -> AsyncIterator[Summary]:
        """Yield what comes, and what changes of that which is not finished or among the newest."""
        from asyncio import sleep  # which takes longer to import than most commands take

        known = {each.id: _state(each) for each in self._looked_at(after) if each.id <= after}
        version = None
        while True:
            if version != (version := self._reader.version()):
                found = self._looked_at(max(known, default=after))
                for each in found:
                    if known.get(each.id) != _state(each):
                        yield each
                known = {each.id: _state(each) for each in found}
            await sleep(LOOK_EVERY)

    def _looked_at(self, last: int) -> Sequence[Summary]:
        """Return the newest, all later than the last one, and what is unfinished; oldest first."""
        looks = (
            Wanted(limit=NEWEST),
            Wanted(after=last, limit=MOST),
            Wanted(statuses=UNFINISHED, limit=MOST),
        )
        found = {each.id: each for look in looks for each in self._reader.list(look)}
        return [found[id] for id in sorted(found)]

    async def close(self) -> None:
        self._reader.close()


def matches(wanted: Wanted) -> str:
    """Return the condition that a `Wanted` means, with its `parameters`."""
    # So that the index of these is used.
    if wanted.pending_after:
        return f"pending_after AND {MATCHES}"
    is_unfinished = wanted.statuses and set(wanted.statuses) <= set(UNFINISHED)
    return f"{IS_UNFINISHED} AND {MATCHES}" if is_unfinished else MATCHES


def parameters(wanted: Wanted) -> dict[str, Any]:
    """Return the values that `MATCHES` names."""
    ids = None if wanted.ids is None else json.dumps([id for id in wanted.ids if id in IDS])
    statuses = json.dumps(list(wanted.statuses)) if wanted.statuses else None
    return {**vars(wanted), "ids": ids, "statuses": statuses}


def _recorded(row: sqlite3.Row) -> Recorded:
    headers = tuple((name, value) for name, value in json.loads(row["headers"]))
    return Recorded(**{**dict(row), "headers": headers})


def _state(summary: Summary) -> tuple[str, int, bool]:
    return summary.status, summary.attempt_count, summary.pending_after
