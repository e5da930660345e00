"""Journals of earlier versions, and of later ones."""

import errno
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hfhooks.errors import JournalError
from hfhooks.journal import open_journal, open_reading, path_of, url_of
from hfhooks.journal.sqlite.schema import STEPS, VERSION
from hfhooks.model.delivery import Wanted
from hfhooks.version import __version__
from tests.journal.engines import NEW, claimed, record

EARLIER = sorted(STEPS)


def made(folder: Path, version: int) -> str:
    """Return the URL of a journal as that version has made it, and `.dump` shows it."""
    path = folder / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / f"version_{version}.sql").read_text())
    return url_of(path)


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the name of each column, its type, whether it may be null, its default and its key.

    Earlier versions did not say that a key may not be null.
    """
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
        columns = {name: connection.execute(f"PRAGMA table_info({name})") for name in names}
        return {
            name: sorted(
                (title, kind, key or needed, default, key)
                for _, title, kind, needed, default, key in rows
            )
            for name, rows in columns.items()
        }


@pytest.fixture
def url(tmp_path: Path) -> str:
    return made(tmp_path, 2)


async def test_one_of_three_versions_before_is_brought_up(url: str) -> None:
    journal = open_journal(url, retention=None)
    found = {each.id: each for each in await journal.list(Wanted())}
    assert {id: (each.status, each.origin) for id, each in found.items()} == {
        1: ("succeeded", "hub"),
        2: ("failed", "replay"),
        3: ("retrying", "hub"),
        4: ("queued", "hub"),
        5: ("failed", "hub"),
        6: ("ignored", "hub"),
    }
    ends = {id: [a.status for a in await journal.attempts(id)] for id in found}
    assert ends[1] == ["succeeded"] and ends[2] == ["raised", "raised"]
    assert ends[3] == ["raised"] and ends[4] == ["lost"] and ends[5] == ["refused"]
    assert (await claimed(journal)).id == 4  # 3 is due later
    assert (await record(journal, NEW)).id == 7
    await journal.close()


@pytest.mark.parametrize("version", [3, 4])
async def test_one_of_the_versions_before_is_brought_up(tmp_path: Path, version: int) -> None:
    journal = open_journal(made(tmp_path, version), retention=None, now=lambda: 30.0)
    found = {each.id: each.status for each in await journal.list(Wanted())}
    assert found == {
        **{1: "succeeded", 2: "failed", 3: "retrying", 4: "queued", 5: "queued", 6: "queued"},
        **{7: "ignored", 8: "cancelled"},
    }
    ends = {id: [a.status for a in await journal.attempts(id)] for id in found}
    assert ends[1] == ["succeeded"] and ends[2] == ["raised", "crashed", "raised"]
    assert ends[3] == ["raised"] and ends[4] == ["lost"] and ends[5] == ["crashed", "lost"]
    assert ends[6] == ends[7] == ends[8] == []
    [first, *_, last] = await journal.attempts(2)
    assert (first.number, first.error, last.number, last.error) == (
        *(1, "Traceback 1"),
        *(3, "Traceback 3"),
    )
    room = {"train": 9}
    assert [(claim.id, claim.number) for claim in await journal.claim(room)] == [(6, 1)]
    suspects = [claim for _ in range(2) for claim in await journal.claim(room, in_quarantine=True)]
    assert [(claim.id, claim.number) for claim in suspects] == [(4, 2), (5, 3)]
    assert (await record(journal, NEW)).id == 10  # there was a ninth
    assert await journal.list(Wanted(pending_after=True)) == []
    await journal.close()


async def test_one_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    journal = open_journal(made(tmp_path, 1), retention=None)
    found = {each.id: each for each in await journal.list(Wanted())}
    assert {id: (each.status, each.origin, each.webhook_id) for id, each in found.items()} == {
        1: ("succeeded", "hub", "w1"),
        2: ("failed", "replay", None),
        3: ("succeeded", "hub", None),  # it was a duplicate, which that version did not know
        4: ("queued", "hub", None),
        5: ("queued", "hub", None),
        6: ("ignored", "hub", "w6"),
        7: ("queued", "hub", "w7"),
    }
    ends = {id: [a.status for a in await journal.attempts(id)] for id in found}
    assert ends[1] == ends[3] == ["succeeded"] and ends[2] == ["raised"] and ends[4] == ["lost"]
    assert ends[5] == ["interrupted", "lost"] and ends[6] == ends[7] == []
    room = {"train": 9}
    due = {claim.id: claim for claim in await journal.claim(room)}
    for _ in range(2):  # those that ran when that version ended
        due |= {claim.id: claim for claim in await journal.claim(room, in_quarantine=True)}
    assert {id: claim.number for id, claim in due.items()} == {4: 2, 5: 3, 7: 1}
    assert due[7].delivery.body == b'{"a": 1}'
    assert (await record(journal, NEW)).id == 8
    await journal.close()


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("version", [*EARLIER, VERSION])
async def test_the_tables_tell_their_version_and_not_the_number(
    tmp_path: Path, version: int, number: int
) -> None:
    """As of a journal that was restored from a dump, which has no number."""
    if version == VERSION:
        url = url_of(tmp_path / "journal.db")
        await open_journal(url).close()
    else:
        url = made(tmp_path, version)
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute(f"PRAGMA user_version = {number}")
    reading = open_reading(url)
    await reading.check()
    await reading.close()
    await open_journal(url).close()
    await open_journal(url_of(tmp_path / "new.db")).close()
    assert tables(tmp_path / "journal.db") == tables(tmp_path / "new.db")
    with closing(sqlite3.connect(path_of(url))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


KILLED = """
import asyncio, os, sys
from pathlib import Path
from hfhooks.journal import open_journal, url_of
from hfhooks.journal.sqlite import writing

left = int(sys.argv[2])
keep_earlier = writing.keep_earlier

def watch(statement):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)

def watched(connection, path):
    connection.set_trace_callback(watch)
    keep_earlier(connection, path)

writing.keep_earlier = watched

async def main():
    await open_journal(url_of(Path(sys.argv[1]))).close()
    print("done")

asyncio.run(main())
"""


@pytest.mark.parametrize("version", EARLIER)
async def test_one_whose_migration_was_killed_at_any_statement_is_brought_up(
    tmp_path: Path, version: int
) -> None:
    path = path_of(made(tmp_path, version))
    statements = 0
    while "done" not in _opened_by_one_that_is_killed(path, statements):
        reading = open_reading(url_of(path))
        await reading.check()
        await reading.close()
        statements += 5
    assert statements > 10
    await open_journal(url_of(tmp_path / "new.db")).close()
    assert tables(path) == tables(tmp_path / "new.db")
    assert [file.name for file in tmp_path.glob("*.v*")] == [f"journal.db.v{version}"]


def _opened_by_one_that_is_killed(path: Path, statements: int) -> str:
    command = [sys.executable, "-c", KILLED, str(path), str(statements)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("version", EARLIER)
async def test_what_is_brought_up_has_the_tables_of_a_new_one(tmp_path: Path, version: int) -> None:
    for url in (made(tmp_path, version), url_of(tmp_path / "new.db")):
        await open_journal(url).close()
    assert tables(tmp_path / "journal.db") == tables(tmp_path / "new.db")


@pytest.mark.parametrize("version", EARLIER)
async def test_one_that_is_brought_up_is_kept_as_it_was_beside_it(
    tmp_path: Path, version: int
) -> None:
    await open_journal(made(tmp_path, version)).close()
    kept = tmp_path / f"journal.db.v{version}"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    await open_journal(url_of(tmp_path / "journal.db")).close()
    assert [file.name for file in tmp_path.glob("*.v*")] == [kept.name]


@pytest.mark.parametrize("version", EARLIER)
async def test_one_that_cannot_be_brought_up_stays_as_it_is(tmp_path: Path, version: int) -> None:
    url = made(tmp_path, version)
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute("CREATE TABLE deliveries_pending_after (a)")  # it is in the way
        connection.commit()
    with pytest.raises(JournalError):
        open_journal(url)
    with closing(sqlite3.connect(path_of(url))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        connection.execute("DROP TABLE deliveries_pending_after")
        connection.commit()
    await open_journal(url).close()


async def test_one_whose_copy_has_no_place_is_left_as_it_is(url: str) -> None:
    (path_of(url).parent / "journal.db.v2").mkdir()
    with pytest.raises(JournalError, match="cannot be used"):
        open_journal(url)
    with closing(sqlite3.connect(path_of(url))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


async def test_a_copy_for_which_there_is_no_room_leaves_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full, pytest.raises(JournalError) as caught:
        full.setattr("hfhooks.journal.sqlite.migrating.sync", fail)
        open_journal(url)
    assert caught.value.help and "Make room" in caught.value.help
    assert not list(path_of(url).parent.glob("*.part"))
    await open_journal(url).close()


async def test_one_of_three_versions_before_is_read_and_left_as_it_is(url: str) -> None:
    before = path_of(url).read_bytes()
    reading = open_reading(url)
    await reading.check()
    found = {each.id: each.status for each in await reading.list(Wanted())}
    assert found[2] == "failed" and found[4] == "running"  # by whoever has it
    recorded = await reading.get(2)
    assert recorded and recorded.origin == "replay"
    assert [each.status for each in await reading.attempts(2)] == ["raised", "raised"]
    await reading.close()
    assert path_of(url).read_bytes() == before


async def test_one_of_a_later_version_is_not_called_damaged(url: str) -> None:
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match=f"has version 99, and this hfhooks knows {VERSION}"):
        open_reading(url)


async def test_one_of_a_later_version_says_who_has_made_it(tmp_path: Path) -> None:
    url = url_of(tmp_path / "journal.db")
    await open_journal(url).close()
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute("UPDATE meta SET made_by = '7.8.9'")
        connection.commit()
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    for opened in (open_journal, open_reading):
        with pytest.raises(JournalError) as caught:
            opened(url)
        assert str(caught.value) == (
            f"{path_of(url)} has version {VERSION + 1}, and this hfhooks knows {VERSION}: "
            f"7.8.9 has made it, and this is {__version__}."
        )


@pytest.mark.parametrize("version", [-1, VERSION + 1, 99])
async def test_one_of_a_version_that_is_not_known_is_refused(url: str, version: int) -> None:
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    said = f"has version {version}, and this hfhooks knows {VERSION}"
    with pytest.raises(JournalError, match=said) as caught:
        open_journal(url)
    assert caught.value.help and "--state-dir" in caught.value.help


@pytest.mark.parametrize("version", [0, 3])
async def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"CREATE TABLE places (url); PRAGMA user_version = {version}")
    before = path.read_bytes()
    for opened in (open_journal, open_reading):
        with pytest.raises(
            JournalError, match="is a database, and no journal of hfhooks"
        ) as caught:
            opened(url_of(path))
        assert caught.value.help and "--journal" in caught.value.help
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"other.db", "other.lock"}


async def test_what_helps_against_damage_moves_nothing_but_the_journal(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "journal.db").write_bytes(b"x" * 5000)
    with pytest.raises(JournalError) as caught:
        open_journal(url_of(folder / "journal.db"))
    assert f"Start anew: mv '{folder}' '{folder}.damaged'. " in str(caught.value.help)
    (folder / "letters").touch()
    with pytest.raises(JournalError) as caught:
        open_journal(url_of(folder / "journal.db"))
    assert "mv" not in str(caught.value.help) and "--journal" in str(caught.value.help)
