"""Journals of earlier versions."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hfhooks.errors import JournalError
from hfhooks.journal import open_journal, open_reading, path_of, url_of
from hfhooks.journal.sqlite.schema import VERSION
from hfhooks.model.delivery import Wanted
from tests.journal.engines import NEW, record

VERSION_2 = (Path(__file__).parent / "version_2.sql").read_text()
"""As `.dump` shows a journal that the version before has made."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_2)
    return url_of(path)


async def test_one_of_the_version_before_is_brought_up(url: str) -> None:
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
    assert [claim.id for claim in await journal.claim({"train": 9})] == [4]  # 3 is due later
    assert (await record(journal, NEW)).id == 7
    await journal.close()


async def test_one_of_the_version_before_is_read_and_left_as_it_is(url: str) -> None:
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


@pytest.mark.parametrize("version", [1, VERSION + 1, 99])
async def test_one_of_a_version_that_is_not_known_is_refused(url: str, version: int) -> None:
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    said = f"has version {version}, and this hfhooks knows {VERSION}"
    with pytest.raises(JournalError, match=said) as caught:
        open_journal(url)
    assert caught.value.help and "--state-dir" in caught.value.help
