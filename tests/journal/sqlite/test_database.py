import asyncio
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from hfhooks.errors import DiskError, JournalAway, JournalError, JournalFull
from hfhooks.journal import open_journal, url_of
from hfhooks.journal.sqlite.commits import PAUSE
from hfhooks.journal.sqlite.database import SOON, Database, open_database
from hfhooks.journal.sqlite.files import LOG_BYTES, log_of
from hfhooks.journal.sqlite.reading import Reader
from hfhooks.model.condition import Condition
from hfhooks.model.delivery import UNFINISHED, Wanted
from hfhooks.tasks import run
from tests.harness import copy_folder, mounted, until, wait_until
from tests.journal.engines import NEW, record, taken

Open = Callable[..., Database]


def make(folder: Path, **options: Any) -> Database:
    arguments: dict[str, Any] = {
        "holder": "process 7 on port 7860",
        "check": lambda _: None,
        "prepare": lambda c, _: c.execute("CREATE TABLE IF NOT EXISTS deliveries (name TEXT)"),
        "chore": lambda _: False,
        "min_free": 0,
        "become": lambda _: None,
    }
    return open_database(folder / "deep" / "d.db", **arguments | options)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Return a function that opens a database with one table; they are closed with the test."""
    databases: list[Database] = []

    def opened(**options: Any) -> Database:
        databases.append(make(tmp_path, **options))
        return databases[-1]

    yield opened
    for database in databases:
        database.close()


def insert(name: str) -> Callable[[sqlite3.Connection], int]:
    return lambda c: c.execute("INSERT INTO deliveries VALUES (?)", (name,)).lastrowid or 0


def names(database: Database) -> list[str]:
    reader = Reader(database.path)
    with closing(reader):
        query = "SELECT name FROM deliveries ORDER BY rowid"
        return list(reader.rows(lambda row: str(row["name"]), query))


async def test_what_was_committed_can_be_read(opened: Open) -> None:
    database = opened()
    assert await database.commit(insert("a")) == 1
    assert names(database) == ["a"]


async def test_what_nobody_waits_for_comes_before_the_next_commit(opened: Open) -> None:
    database = opened()
    database.write(insert("a"))
    await database.commit(insert("b"))
    assert names(database) == ["a", "b"]


async def test_what_waits_shares_a_commit(opened: Open) -> None:
    database, commits = opened(), 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    database._writer.set_trace_callback(count)  # to see what SQLite is told
    await asyncio.gather(*(database.commit(insert("a")) for _ in range(500)))
    assert 1 <= commits < 100


async def test_what_comes_in_one_turn_of_the_loop_has_one_commit(opened: Open) -> None:
    database = opened()
    commits = counted(database)
    await asyncio.gather(*(database.commit(insert("a")) for _ in range(100)))
    assert commits == ["COMMIT"]


async def test_what_comes_in_turns_that_follow_one_another_has_one_commit(opened: Open) -> None:
    database = opened()
    commits = counted(database)
    loop, names = asyncio.get_running_loop(), iter("abcdefgh")
    told: list[int] = []

    def write_next() -> None:
        if name := next(names, None):
            database.write(insert(name), told.append)
            loop.call_soon(write_next)

    write_next()
    await until(lambda: len(told) == 8)
    assert commits == ["COMMIT"]


async def test_what_comes_while_others_are_written_has_the_next_commit(opened: Open) -> None:
    """And is not called back with them, though it was asked for before they were on disk."""
    database, has_begun, may_go_on = opened(), threading.Event(), threading.Event()
    commits = counted(database)
    rest: list[asyncio.Future[object]] = []
    told: list[tuple[int, bool]] = []

    def slow(connection: sqlite3.Connection) -> int:
        has_begun.set()
        may_go_on.wait(10)
        return insert("a")(connection)

    database.write(slow, lambda id: told.append((id, any(each.done() for each in rest))))
    await until(has_begun.is_set)
    rest += [asyncio.ensure_future(database.commit(insert("b"))) for _ in range(9)]
    await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(*rest)
    assert told == [(1, False)]
    assert commits == ["COMMIT"] * 2


async def test_what_can_wait_shares_a_commit_with_what_cannot(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.journal.sqlite.database.SOON", 60)
    database = opened()
    commits = counted(database)
    told: list[int] = []
    for _ in range(3):
        database.write(insert("a"), told.append, can_wait=True)
        await asyncio.sleep(0.0)
    assert await database.commit(insert("b")) == 4
    assert told == [1, 2, 3] and commits == ["COMMIT"]


async def test_the_log_is_kept_short_while_large_things_are_written(opened: Open) -> None:
    database = opened()
    for _ in range(30):
        await database.commit(insert("x" * 1_000_000), is_new=True)
    assert log_of(database.path).stat().st_size < 2 * LOG_BYTES


def counted(database: Database) -> list[str]:
    """Return the commits, as SQLite hears of them."""
    wait_until(lambda: database._commits.rest)  # the first chore is done
    commits: list[str] = []

    def hear(statement: str) -> None:
        if statement == "COMMIT":
            commits.append(statement)

    database._writer.set_trace_callback(hear)
    return commits


def test_what_can_wait_comes_soon_whenever_it_is_asked_for(tmp_path: Path) -> None:
    """Also in the turn of the loop in which what waited before is written."""

    async def twice_in_a_turn() -> None:
        loop, database = asyncio.get_running_loop(), make(tmp_path)
        written = loop.create_future()

        def ask_again(number: int) -> None:
            wait_until(lambda: len(names(database)) > number)
            database.write(insert("again"), written.set_result, can_wait=True)

        for number in range(0, 20, 2):
            written = loop.create_future()
            database.write(insert("a"), can_wait=True)
            loop.call_later(SOON, ask_again, number)
            async with asyncio.timeout(20):
                await written
        database.close()

    run(twice_in_a_turn())


async def test_commits_reach_the_disk(opened: Open) -> None:
    connection = opened()._writer  # the promise is about this very connection
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "fullfsync", "checkpoint_fullfsync")
    values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert values == ["wal", 2, 1, 1, 1]


async def test_readers_cannot_write(opened: Open) -> None:
    with closing(Reader(opened().path)) as reader, pytest.raises(JournalError, match="readonly"):
        reader.rows(tuple, "INSERT INTO deliveries VALUES ('a')")


async def test_a_sender_that_left_does_not_stop_the_others(opened: Open) -> None:
    database = opened()
    left, stayed = (asyncio.ensure_future(database.commit(insert(name))) for name in "ab")
    await asyncio.sleep(0)
    left.cancel()
    assert await stayed in (1, 2)


async def test_closing_finishes_what_waits(opened: Open, tmp_path: Path) -> None:
    database = opened()
    writes = [asyncio.ensure_future(database.commit(insert("a"))) for _ in range(50)]
    await asyncio.sleep(0)
    database.close()
    await asyncio.gather(*writes)
    assert names(opened()) == ["a"] * 50


async def test_folder_and_files_are_the_users_alone(opened: Open) -> None:
    folder = opened().path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob("d.db*")}
    assert len(modes) == 3 and set(modes.values()) == {0o600}, modes


async def test_a_second_server_is_told_who_has_it(opened: Open) -> None:
    opened()
    with pytest.raises(JournalError, match="in use by process 7 on port 7860") as caught:
        opened()
    assert caught.value.exit_code == 3
    assert "--state-dir" in str(caught.value.help)


async def test_what_is_no_lock_of_another_server_is_not_called_one(opened: Open) -> None:
    database = opened()
    database.close()
    folder = database.path.parent
    (folder / "d.lock-journal").mkdir()  # as where the disk is full, SQLite cannot write it
    with pytest.raises(JournalError, match="cannot be used: unable to open database file"):
        opened()


async def test_a_disk_that_is_full_at_the_start_is_the_machines_matter(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr("hfhooks.journal.sqlite.opening._configure", full)
    with pytest.raises(JournalFull, match="cannot be used: database or disk is full") as caught:
        opened()
    assert caught.value.exit_code == 5


@pytest.mark.skipif(os.name == "nt", reason="owners and links of Unix")
@pytest.mark.parametrize("name", ["d.db", "d.db-wal", "d.db-shm", "d.lock", "d.holder"])
async def test_what_others_have_put_in_its_place_is_refused(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = tmp_path / "deep" / name
    file.parent.mkdir()
    file.symlink_to(tmp_path / "victim")
    with pytest.raises(JournalError, match=f"{name} is no file"):
        opened()
    assert not (tmp_path / "victim").exists()
    file.unlink()
    file.touch()
    lstat = Path.lstat

    def of_another(path: Path) -> os.stat_result:
        found = lstat(path)
        return os.stat_result([*found[:4], found.st_uid + 1, *found[5:10]])

    monkeypatch.setattr(Path, "lstat", of_another)
    with pytest.raises(JournalError, match="belongs to another user"):
        opened()


async def test_a_closed_one_can_be_opened_again(opened: Open) -> None:
    opened().close()
    assert names(opened()) == []


async def test_a_folder_that_cannot_be_made_is_said(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        opened()


@pytest.mark.parametrize(
    ("kind", "is_trusted"), [("nfs4", False), ("cifs", False), ("ext4", True), ("overlay", True)]
)
async def test_one_on_another_machine_is_not_trusted(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_trusted: bool
) -> None:
    monkeypatch.setattr("hfhooks.mounts.MOUNTS", mounted(tmp_path, kind))
    if is_trusted:
        opened()
        return
    with pytest.raises(JournalError, match=rf"on a network file system \({kind}\)") as caught:
        opened()
    assert caught.value.help and "--state-dir" in caught.value.help


async def test_one_that_cannot_be_opened_leaves_no_thread(opened: Open, tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.db").write_bytes(b"x" * 5000)
    with pytest.raises(JournalError):
        opened()
    assert threading.active_count() == before


async def test_the_chore_is_done_while_there_is_more_of_it(opened: Open) -> None:
    left = [True, True, False]
    opened(chore=lambda _: left.pop(0))
    wait_until(lambda: not left)


async def test_the_chore_is_done_again_after_many_new_rows(opened: Open) -> None:
    done: list[int] = []

    def chore(_: object) -> bool:
        done.append(1)
        return False

    database = opened(chore=chore)
    wait_until(lambda: done)
    for _ in range(100):
        await database.commit(insert("a"), is_new=True)
    wait_until(lambda: len(done) == 2)


async def test_a_nearly_full_disk_takes_nothing_new(opened: Open) -> None:
    database = opened(min_free=1 << 60)
    new, old = database.commit(insert("new"), is_new=True), database.commit(insert("old"))
    results = await asyncio.gather(new, old, return_exceptions=True)
    assert isinstance(results[0], JournalFull)
    assert names(database) == ["old"] and database.failure is None


async def test_a_full_disk_refuses_until_there_is_room(opened: Open) -> None:
    database = opened()
    await pragma(database, "max_page_count = 10")  # SQLite itself says that there is no room
    with pytest.raises(JournalFull, match="the disk is full"):
        await database.commit(insert("x" * 100_000))
    await pragma(database, "max_page_count = 10000")
    await database.commit(insert("a"))
    assert names(database) == ["a"] and database.failure is None


async def test_that_there_is_room_again_is_told_though_nobody_comes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.journal.sqlite.commits.LOOK_EVERY", 0.01)
    told: list[str] = []
    database = opened(become=lambda condition: told.append(condition.state))
    await pragma(database, "max_page_count = 10")
    with pytest.raises(JournalFull):
        await database.commit(insert("x" * 100_000), is_new=True)
    await pragma(database, "max_page_count = 10000")
    await until(lambda: told == ["full", "healthy"])


async def test_that_the_disk_is_nearly_full_is_told_though_nobody_comes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.journal.sqlite.commits.LOOK_EVERY", 0.01)
    told: list[str] = []
    opened(become=lambda condition: told.append(condition.state), min_free=1 << 60)
    await until(lambda: told == ["full"])


async def test_that_another_program_has_it_locked_is_told_though_nobody_comes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.journal.sqlite.commits.LOOK_EVERY", 0.01)
    told: list[str] = []
    database = opened(become=lambda condition: told.append(condition.state))
    with closing(sqlite3.connect(database.path, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        await until(lambda: told == ["away"])
        another.execute("ROLLBACK")
        await until(lambda: told == ["away", "healthy"])
    await database.commit(insert("a"), is_new=True)
    assert names(database) == ["a"]


async def pragma(database: Database, setting: str) -> None:
    """Set it in the thread that writes, which may be at its chore."""
    await database.commit(lambda writer: writer.execute(f"PRAGMA {setting}").fetchall())


async def test_a_failed_disk_is_never_trusted_again(opened: Open) -> None:
    told: list[Condition] = []
    database = opened(become=told.append)
    await pragma(database, "query_only = 1")  # the disk says no
    failures = await asyncio.gather(
        *(database.commit(insert("a")) for _ in range(3)), return_exceptions=True
    )
    assert [type(failure) for failure in failures] == [DiskError] * 3
    database._writer.execute("PRAGMA query_only = 0")
    with pytest.raises(DiskError) as caught:
        await database.commit(insert("a"))
    assert told == [Condition("failed", database.failure)] and caught.value.exit_code == 5
    assert names(database) == []


async def test_a_mistake_in_a_write_ends_nothing_silently(opened: Open) -> None:
    database = opened()
    with pytest.raises(JournalError):
        await database.commit(lambda c: c.execute("nonsense"))
    with pytest.raises(JournalError):
        await database.commit(insert("a"))


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2]); connection.execute("SELECT * FROM deliveries").fetchall()
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked(path: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[int]:
    """Have another program lock a database; yield its process id."""
    command = [sys.executable, "-c", LOCK, str(path), how]
    with Popen(command, stdin=PIPE, stdout=PIPE) as program:
        assert program.stdout and program.stdout.readline() == b"locked\n"
        yield program.pid
        program.communicate(b"\n")


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_what_another_program_locks_is_away_until_it_lets_go(opened: Open, how: str) -> None:
    """What is new is refused meanwhile; all else is written then, once."""
    conditions: list[Condition] = []
    database = opened(become=conditions.append)
    with locked(database.path, how) as pid:
        old = asyncio.ensure_future(database.commit(insert("old")))
        with pytest.raises(JournalAway) as caught:
            await database.commit(insert("new"), is_new=True)
        with pytest.raises(JournalAway):  # and those that come later at once
            await database.commit(insert("newer"), is_new=True)
        assert not old.done() and [each.state for each in conditions] == ["away"]
        if sys.platform == "linux":
            assert f"(process {pid})" in str(caught.value)
    await old
    await database.commit(insert("newest"), is_new=True)
    assert names(database) == ["old", "newest"] and database.failure is None
    assert [each.state for each in conditions] == ["away", "healthy"]


async def test_one_that_is_away_can_be_closed(opened: Open) -> None:
    database = opened()
    with locked(database.path):
        old = asyncio.ensure_future(database.commit(insert("old")))
        with pytest.raises(JournalAway):
            await database.commit(insert("new"), is_new=True)
        database.close()
        with pytest.raises(JournalAway):
            await old
    assert names(opened()) == []


async def test_a_lock_while_it_is_opened_is_said(opened: Open) -> None:
    database = opened()
    database.close()

    def prepare(connection: sqlite3.Connection, _: str) -> None:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("BEGIN IMMEDIATE")

    with locked(database.path), pytest.raises(JournalAway, match="is locked by"):
        opened(prepare=prepare)


async def test_a_program_that_reads_long_keeps_nobody_waiting(opened: Open) -> None:
    """The log cannot begin anew meanwhile, which is no failure."""
    database = opened()
    with locked(database.path, "BEGIN"):
        for _ in range(20):
            await database.commit(insert("x" * 1_000_000), is_new=True)
        assert log_of(database.path).stat().st_size > LOG_BYTES
    assert database.failure is None


FILES = ["d.db", "d.db-wal", "d.db-shm", "d.lock"]


@pytest.mark.parametrize("is_replaced", [False, True])
@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_is_deleted_or_replaced_ends_all(
    opened: Open, name: str, is_replaced: bool
) -> None:
    database = opened()
    await database.commit(insert("a"))
    file = database.path.with_name(name)
    file.rename(file.with_name("elsewhere"))
    if is_replaced:
        subprocess.run(["cp", file.with_name("elsewhere"), file], check=True)
    with pytest.raises(DiskError, match=f"{name} was deleted or replaced"):
        await settled(database)
    with pytest.raises(DiskError):
        await database.commit(insert("b"), is_new=True)


async def settled(database: Database) -> None:
    """Commit after a pause; however short the time since the last look was."""
    wait_until(lambda: database._commits.failure or _is_pause(database))
    await database.commit(insert("b"), is_new=True)


def _is_pause(database: Database) -> bool:
    return time.monotonic() - database._commits._looked_at > PAUSE


async def test_files_that_are_gone_are_missed_without_a_write(opened: Open) -> None:
    conditions: list[Condition] = []
    folder = opened(become=conditions.append).path.parent
    folder.rename(folder.with_name("moved"))
    await until(lambda: conditions)
    assert [each.state for each in conditions] == ["failed"]
    folder.with_name("moved").rename(folder)


async def test_closing_leaves_those_that_have_come_instead_alone(tmp_path: Path) -> None:
    journal = open_journal(url_of(tmp_path / "a" / "journal.db"))
    await record(journal)
    (tmp_path / "a").rename(tmp_path / "b")
    await until(lambda: journal.condition.state == "failed")
    next_one = open_journal(url_of(tmp_path / "a" / "journal.db"))
    await record(next_one)
    await journal.close()
    assert {each.name for each in (tmp_path / "a").iterdir()} >= {
        "journal.db-wal",
        "journal.holder",
    }
    await record(next_one)
    assert next_one.condition.state == "healthy"
    await next_one.close()


DAMAGES = 500


async def test_damaged_journals_are_served_or_said(tmp_path: Path) -> None:
    """Nothing but a `JournalError` comes out, and the file is kept."""
    sound = tmp_path / "sound"
    journal = open_journal(url_of(sound / "journal.db"))
    for number in range(60):
        await record(journal, NEW, take=bool(number % 3))
    snapshot = tmp_path / "snapshot"
    await record(journal)
    copy_folder(sound, snapshot)
    for each in ("journal.lock", "journal.db-shm"):
        (snapshot / each).unlink()
    await journal.close()
    chance, served = random.Random(1), 0
    for number in range(DAMAGES):
        damaged = tmp_path / str(number)
        shutil.copytree(snapshot if number % 2 else sound, damaged)
        damage(chance.choice(sorted(damaged.glob("journal.db*"))), chance)
        served += await is_served(damaged / "journal.db")
        assert (damaged / "journal.db").exists()
        shutil.rmtree(damaged)
    assert 0 < served < DAMAGES


def damage(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content and chance.random() < 0.3:
        del content[chance.randrange(len(content)) :]
    for _ in range(chance.choice((1, 4, 64))):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    file.write_bytes(content)


async def is_served(path: Path) -> bool:
    """Use a journal as a server does; tell whether it can be used."""
    try:
        journal = open_journal(url_of(path))
    except JournalError as error:
        assert "is damaged" in str(error) and "mv" in str(error.help)
        return False
    try:
        await journal.claim({"train": 100})
        found = await journal.list(Wanted(statuses=UNFINISHED, limit=100))
        left = [each.id for each in found][::-1]
        assert left == list(range(1, len(left) + 1))
        assert all([await journal.get(id) for id in left])
        await taken(journal)
    except JournalError as error:
        assert "is damaged" in str(error) and "mv" in str(error.help)
        return False
    finally:
        await journal.close()
    return True
