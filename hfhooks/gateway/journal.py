"""Every delivery and every attempt, in SQLite. All SQL is here.

One connection writes, in one thread, and commits everything that is waiting at once: a delivery is
on disk before anyone hears that it was accepted, and many deliveries share one sync of the disk.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from hfhooks.errors import JournalError

__all__ = ["Attempt", "Delivery", "Journal", "open_journal"]

T = TypeVar("T")
_Write: TypeAlias = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any] | None"]

SCHEMA_VERSION = 1
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
    body BLOB NOT NULL,
    is_replay INTEGER NOT NULL,
    status TEXT NOT NULL,
    due_at REAL
);
CREATE INDEX deliveries_unfinished ON deliveries (id)
    WHERE status IN ('queued', 'running', 'retrying');
CREATE INDEX deliveries_webhook_id ON deliveries (endpoint, webhook_id)
    WHERE webhook_id IS NOT NULL;
CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at REAL NOT NULL,
    duration REAL,
    status TEXT NOT NULL,
    http_status INTEGER,
    answer BLOB,
    error TEXT,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
"""

INSERT = """
INSERT INTO deliveries
    (endpoint, received_at, webhook_id, event, repo, query, headers, body, is_replay, status)
VALUES
    (:endpoint, :received_at, :webhook_id, :event, :repo, :query, :headers, :body, :is_replay,
     :status)
"""
SELECT = """
SELECT id, endpoint, received_at, webhook_id, event, repo, query, headers, body, is_replay, status,
    (SELECT count(*) FROM attempts WHERE delivery_id = id) AS attempts
FROM deliveries
"""
SELECT_ONE = SELECT + "WHERE id = ?"
SELECT_UNFINISHED = SELECT + "WHERE status IN ('queued', 'running', 'retrying') ORDER BY id"
SELECT_ATTEMPTS = """
SELECT number, started_at, coalesce(duration, 0.0), status, http_status, coalesce(answer, x''),
    error
FROM attempts WHERE delivery_id = ? ORDER BY number
"""

KEPT_HEADERS = frozenset({"content-type", "user-agent", "webhook-id"})
"""Headers that may be written to disk; never the secret, cookies or authorization."""
KEPT_ANSWER = 4096
"""Bytes of a handler's answer, and characters of its traceback, that are kept."""
MOST_WRITES_A_COMMIT = 256


@dataclass(frozen=True)
class Delivery:
    """One request received. `id` is 0 until it is recorded."""

    endpoint: str
    received_at: float
    """Seconds since 1970."""
    query: str
    """Without the secret."""
    headers: tuple[tuple[str, str], ...]
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


@dataclass(frozen=True)
class Attempt:
    """How one call of a handler ended."""

    number: int
    started_at: float
    duration: float
    """Seconds."""
    status: str
    """`succeeded`, `failed`, or `interrupted` when the worker died."""
    http_status: int | None = None
    answer: bytes = b""
    error: str | None = None


class Journal:
    """Records deliveries and attempts; `open_journal` makes one."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: sqlite3.Connection):
        self.path = path
        self._connection = connection
        self._lock = lock
        self._writes: SimpleQueue[_Write | None] = SimpleQueue()
        # A daemon: Ctrl-C between here and whoever closes us must not leave Python waiting.
        self._thread = Thread(target=self._write, name="hfhooks-journal", daemon=True)
        self._thread.start()

    async def record(self, delivery: Delivery) -> Delivery:
        """Return the delivery with its id once it is on disk. Raises `JournalError`."""

        def insert(connection: sqlite3.Connection) -> int:
            kept = [header for header in delivery.headers if header[0] in KEPT_HEADERS]
            cursor = connection.execute(INSERT, {**vars(delivery), "headers": json.dumps(kept)})
            return cursor.lastrowid or 0

        return replace(delivery, id=await self._commit(insert))

    def claim(self, delivery: Delivery, started_at: float) -> Delivery:
        """Note that an attempt starts, without waiting for the disk."""
        number = delivery.attempts + 1

        def start(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO attempts (delivery_id, number, started_at, status)"
                " VALUES (?, ?, ?, 'running')",
                (delivery.id, number, started_at),
            )
            connection.execute(
                "UPDATE deliveries SET status = 'running' WHERE id = ?", (delivery.id,)
            )

        self._writes.put((start, None))
        return replace(delivery, attempts=number, status="running")

    async def finish(self, delivery: Delivery, attempt: Attempt, status: str) -> None:
        """Keep how an attempt ended and what that makes of the delivery. Raises `JournalError`."""

        def end(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE attempts SET duration = ?, status = ?, http_status = ?, answer = ?,"
                " error = ? WHERE delivery_id = ? AND number = ?",
                (
                    attempt.duration,
                    attempt.status,
                    attempt.http_status,
                    attempt.answer[:KEPT_ANSWER],
                    attempt.error and attempt.error[-KEPT_ANSWER:],
                    delivery.id,
                    attempt.number,
                ),
            )
            connection.execute(
                "UPDATE deliveries SET status = ? WHERE id = ?", (status, delivery.id)
            )

        await self._commit(end)

    def unfinished(self) -> list[Delivery]:
        """Return the deliveries that still want a handler, in order of arrival."""
        with self._reading() as connection:
            return [_delivery(row) for row in connection.execute(SELECT_UNFINISHED)]

    def get(self, id: int) -> Delivery | None:
        """Return one delivery."""
        with self._reading() as connection:
            row = connection.execute(SELECT_ONE, (id,)).fetchone()
            return _delivery(row) if row else None

    def attempts(self, id: int) -> list[Attempt]:
        """Return the attempts at a delivery, the first one first."""
        with self._reading() as connection:
            return [Attempt(*row) for row in connection.execute(SELECT_ATTEMPTS, (id,))]

    def close(self) -> None:
        """Finish the writes that are waiting and close the file."""
        self._writes.put(None)
        self._thread.join()
        self._connection.close()
        self._lock.close()

    async def _commit(self, write: Callable[[sqlite3.Connection], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writes.put((write, done))
        return await done

    def _write(self) -> None:
        while (first := self._writes.get()) is not None:
            writes = [first, *self._waiting()]
            try:
                with _transaction(self._connection):
                    results = [write(self._connection) for write, _ in writes]
            except sqlite3.Error as error:
                _settle(writes, JournalError(f"{self.path}: {error}"))
            else:
                _settle(writes, results)

    def _waiting(self) -> Iterator[_Write]:
        for _ in range(MOST_WRITES_A_COMMIT):
            try:
                write = self._writes.get_nowait()
            except Empty:
                return
            if write is None:
                self._writes.put(None)
                return
            yield write

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {error}") from error
        finally:
            connection.close()


def open_journal(folder: Path) -> Journal:
    """Open the journal in this folder, making both as needed, for this process alone.

    Raises `JournalError` when another process has it, or it cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "journal.db"
        # SQLite would create it readable by everyone.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with ExitStack() as stack:
            lock = stack.enter_context(closing(_connect(folder / "journal.lock", timeout=0)))
            _hold(lock, folder)
            connection = stack.enter_context(closing(_connect(path)))
            _prepare(connection, path)
            stack.pop_all()
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"the journal in {folder} cannot be used: {error}") from error
    return Journal(path, connection, lock)


def _connect(path: Path, timeout: float = 5) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


def _hold(lock: sqlite3.Connection, folder: Path) -> None:
    """Keep other servers away. The kernel releases the lock however this process ends."""
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        raise JournalError(
            f"the journal in {folder} is in use by another server.",
            help="Stop that one, or give this one its own: --state-dir FOLDER",
        ) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for name, wanted in pragmas.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        if (value := connection.execute(f"PRAGMA {name}").fetchone()[0]) != wanted:
            raise JournalError(f"{path}: SQLite keeps {name} at {value}, not {wanted}.")
    connection.execute("PRAGMA journal_size_limit = 4194304")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        help = "Upgrade this hfhooks, or use another --state-dir."
        raise JournalError(f"{path} was made by a newer hfhooks.", help)
    if version == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _settle(writes: Sequence[_Write], outcome: Sequence[Any] | JournalError) -> None:
    """Wake everyone whose write was in this commit, with one call into their loop."""
    waiting = [(done, number) for number, (_, done) in enumerate(writes) if done is not None]

    def wake() -> None:
        for done, number in waiting:
            if done.cancelled():
                continue
            if isinstance(outcome, JournalError):
                done.set_exception(outcome)
            else:
                done.set_result(outcome[number])

    if waiting:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            waiting[0][0].get_loop().call_soon_threadsafe(wake)


def _delivery(row: sqlite3.Row) -> Delivery:
    headers = tuple((name, value) for name, value in json.loads(row["headers"]))
    return Delivery(**{**dict(row), "headers": headers, "is_replay": bool(row["is_replay"])})
