"""A SQLite file of which this process is the only writer, on a disk that is not trusted.

One connection writes, in one thread, and commits everything that is waiting at once, so that many
writes share one sync of the disk. When the disk is full writes are refused until there is room
again; when it has failed they are refused for good, because after a failed sync nobody knows what
is on it, whatever SQLite says (https://wiki.postgresql.org/wiki/Fsync_Errors).
"""

import asyncio
import os
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hfhooks.errors import JournalError, JournalFull, JournalTaken
from hfhooks.journal.sqlite.reading import DISK_ERRORS, Reader, code_of, connect, damaged, explained

__all__ = ["Database", "give_back", "open_database", "used_bytes"]

T = TypeVar("T")
Apply: TypeAlias = Callable[[sqlite3.Connection], T]

MOST_WRITES_A_COMMIT = 256
SOON = 0.02
"""Seconds that a write which can wait waits for others to share a commit with."""
CHORE_EVERY = 100
"""New rows after which the chore is done."""
CHORE_AGAIN = 1.0
"""Seconds after which it is tried again when it failed."""
HOUR = 3600.0
MOST_CHECKED = 512 * 1024 * 1024
"""Bytes of a file that is checked when it is opened; it takes about a second."""
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset({"afs", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"})
"""File systems of other machines."""
GIVE_BACK_PAGES = 512
"""Pages, of 4 KiB as a rule, that are given back to the disk at once."""


class _Write(NamedTuple):
    apply: Apply[Any]
    done: "asyncio.Future[Any] | None" = None
    is_new: bool = False


class Database:
    """Commits writes and answers reads; `open_database` makes one.

    `failure` is set, and `on_failure` called in the writing thread, when the disk has failed.
    """

    def __init__(
        self,
        path: Path,
        writer: sqlite3.Connection,
        reader: Reader,
        lock: sqlite3.Connection,
        *,
        chore: Apply[bool],
        min_free: int,
    ) -> None:
        self.path = path
        self.failure: JournalError | None = None
        self.on_failure: Callable[[JournalError], None] = lambda _: None
        self._writer, self._reader, self._lock = writer, reader, lock
        self._chore = chore
        self._min_free = min_free
        self._until_chore = 0
        self._rest = 0.0
        """Seconds without writes after which the chore is done."""
        self._writes: deque[_Write] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        """True: there is something to write; False: and after that nothing more."""
        self._waking: asyncio.TimerHandle | None = None
        # A daemon: Ctrl-C between here and whoever closes us must not leave Python waiting.
        self._thread = Thread(target=self._write, name="hfhooks-journal", daemon=True)
        self._thread.start()

    async def commit(self, apply: Apply[T], is_new: bool = False, can_wait: bool = False) -> T:
        """Return what `apply` returns once its writes are on disk.

        A write that `is_new` is refused where the disk is nearly full: the room that is left is
        for what became of the older ones. One that `can_wait` shares the next commit, which comes
        soon. Writes are applied in the order in which they came. Raises `JournalError`.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Write(apply, done, is_new), can_wait)
        return await done

    def submit(self, apply: Apply[Any]) -> None:
        """Write with the next commit, without waiting for the disk."""
        self._put(_Write(apply), can_wait=False)

    def _put(self, write: _Write, can_wait: bool) -> None:
        self._writes.append(write)
        if not can_wait:
            self._wake.put(True)
        elif self._waking is None:
            loop = asyncio.get_running_loop()
            self._waking = loop.call_later(SOON, self._wake_now)

    def _wake_now(self) -> None:
        self._waking = None
        self._wake.put(True)

    def read(self, convert: Callable[[sqlite3.Row], T], query: str, *values: object) -> list[T]:
        """Return the rows of a query, converted. Raises `JournalError`."""
        try:
            return self._reader.rows(convert, query, *values)
        except JournalError as error:
            self._fail(error)
            raise

    def close(self) -> None:
        """Finish the writes that are waiting and close the file."""
        self._wake.put(False)
        self._thread.join()
        # The last one to close copies the log into the database, unless it may only read: of a
        # disk that has failed nothing is copied.
        both = (self._writer, self._reader) if self.failure else (self._reader, self._writer)
        for connection in both:
            with suppress(sqlite3.Error):
                connection.close()
        _holder(self.path).unlink(missing_ok=True)
        self._lock.close()

    def _write(self) -> None:
        is_open = True
        while is_open:
            is_open = self._wait()
            while self._writes:
                self._write_some()

    def _wait(self) -> bool:
        """Wait until something is to be written, doing the chore meanwhile; False at the end."""
        while True:
            try:
                return self._wake.get(timeout=self._rest)
            except Empty:
                self._do_chore()

    def _write_some(self) -> None:
        number = min(len(self._writes), MOST_WRITES_A_COMMIT)
        taken = [self._writes.popleft() for _ in range(number)]
        if writes := self._with_room(taken):
            _settle(writes, self._together([write.apply for write in writes]))
        self._until_chore -= sum(write.is_new for write in writes)
        if self._until_chore <= 0:
            self._do_chore()

    def _with_room(self, writes: Sequence[_Write]) -> Sequence[_Write]:
        new = [write for write in writes if write.is_new]
        if not new or self._free_bytes() >= self._min_free:
            return writes
        _settle(new, JournalFull(f"{self.path}: the disk is nearly full."))
        return [write for write in writes if not write.is_new]

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:
            return self._min_free  # SQLite will say what is wrong

    def _together(self, writes: Sequence[Apply[T]]) -> list[T] | JournalError:
        """Commit all of the writes or none."""
        if self.failure:
            return self.failure
        try:
            with _transaction(self._writer):
                return [write(self._writer) for write in writes]
        except Exception as error:  # noqa: BLE001 # whatever it is, nothing may be acknowledged
            why = explained(self.path, error)
            self._fail(why)
            return why

    def _fail(self, error: JournalError) -> None:
        if not isinstance(error, JournalFull):
            self.failure = error
            self.on_failure(error)

    def _do_chore(self) -> None:
        done = self._together([self._chore])
        self._checkpoint()
        if isinstance(done, JournalError):  # a full disk is what it may help against
            self._until_chore, self._rest = CHORE_EVERY, CHORE_AGAIN
        elif done[0]:
            self._until_chore, self._rest = 0, 0.0
        else:
            self._until_chore, self._rest = CHORE_EVERY, HOUR

    def _checkpoint(self) -> None:
        """Copy the log into the database, as SQLite does by itself, but without saying errors."""
        if self.failure:
            return
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._fail(explained(self.path, error))


def open_database(
    path: Path,
    *,
    holder: str,
    version: int,
    schema: str,
    on_open: str,
    chore: Apply[bool],
    min_free: int,
) -> Database:
    """Open the file, making it and its folder as needed, for this process alone.

    `on_open` is run before anyone reads. `chore` is called now and then, in the writing thread,
    and tells whether there is more of it. `holder` is what others are told who want the file too.
    Raises `JournalError` when another process has it, or it cannot be used.
    """
    try:
        _create(path)
        with ExitStack() as stack:
            lock = stack.enter_context(closing(connect(path.with_suffix(".lock"), timeout=0)))
            _hold(lock, path, holder)
            writer = stack.enter_context(closing(connect(path)))
            _prepare(writer, path)
            _check(writer, path)
            _make_schema(writer, path, version, schema)
            writer.executescript(f"BEGIN IMMEDIATE; {on_open} COMMIT;")
            reader = stack.enter_context(closing(Reader(path)))
            stack.pop_all()
    except (OSError, sqlite3.Error, ValueError) as error:  # what is damaged may not be text
        if isinstance(error, OSError) or code_of(error) in (*DISK_ERRORS, sqlite3.SQLITE_FULL):
            what = f"the journal in {path.parent} cannot be used: {error}"
            raise JournalError(what) from error
        raise damaged(path, error) from error
    return Database(path, writer, reader, lock, chore=chore, min_free=min_free)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how much of the file holds something."""
    pages, free = _pages(connection)
    return (pages - free) * int(connection.execute("PRAGMA page_size").fetchone()[0])


def give_back(connection: sqlite3.Connection) -> bool:
    """Make a file that is mostly empty smaller, a part at a time; tell whether it was."""
    pages, free = _pages(connection)
    if free * 2 < pages or free < GIVE_BACK_PAGES:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({GIVE_BACK_PAGES})").fetchall()
    return True


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many pages the file has, and how many of them are empty."""
    names = ("page_count", "freelist_count")
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return pages, free


def _create(path: Path) -> None:
    _make(path.parent)
    if (kind := _file_system(path.parent)) in NETWORK:
        raise JournalError(
            f"the journal in {path.parent} would be on a network file system ({kind}), "
            "where locks and syncs cannot be trusted.",
            help="Choose a folder on a disk of this machine: --state-dir FOLDER",
        )
    # SQLite would create it readable by everyone.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _file_system(folder: Path) -> str | None:
    """Return the kind of file system a folder is on, where Linux tells it."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    # https://www.kernel.org/doc/html/latest/filesystems/proc.html, 3.5; the last mount counts
    mounts = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in lines}
    folder = folder.resolve()
    homes = (mounts.get(str(home)) for home in (folder, *folder.parents))
    return next(filter(None, homes), None)


def _make(folder: Path) -> None:
    """Make a folder that a power loss cannot take away: SQLite syncs the file's own folder only."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "nt":  # where a folder cannot be opened
        parent = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _hold(lock: sqlite3.Connection, path: Path, holder: str) -> None:
    """Keep other servers away. The kernel releases the lock however this process ends."""
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        first = _holder(path).read_text() if _holder(path).exists() else "another server"
        raise JournalTaken(
            f"the journal in {path.parent} is in use by {first}.",
            help="Stop that one, or give this one its own: --state-dir FOLDER",
        ) from error
    _holder(path).write_text(holder)


def _holder(path: Path) -> Path:
    """Return the file that says who has the database."""
    return path.with_suffix(".holder")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "fullfsync": 1}
    for name, wanted in pragmas.items():
        # All of it: the switch to WAL commits, and may fail, after its row is there.
        connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
        if (value := connection.execute(f"PRAGMA {name}").fetchone()[0]) != wanted:
            raise JournalError(f"{path}: SQLite keeps {name} at {value}, not {wanted}.")
    connection.execute("PRAGMA checkpoint_fullfsync = 1")
    connection.execute("PRAGMA journal_size_limit = 4194304")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage, unless that takes longer than a start may take."""
    if path.stat().st_size > MOST_CHECKED:
        return
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise damaged(path, verdict)


def _make_schema(connection: sqlite3.Connection, path: Path, version: int, schema: str) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, version):
        raise JournalError(
            f"{path} has version {found}, and this hfhooks knows {version}.",
            help="Use the hfhooks that made it, or give this one its own: --state-dir FOLDER",
        )
    if found == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;"
        )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _settle(writes: Sequence[_Write], outcome: Sequence[Any] | JournalError) -> None:
    """Wake everyone whose write was in this commit, with one call into their loop."""
    waiting = [(write.done, number) for number, write in enumerate(writes) if write.done]

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
