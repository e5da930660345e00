"""Who had a journal last, and what its end makes of what it ran."""

import os
import stat
from pathlib import Path

import pytest

from hfhooks.journal import open_journal, url_of
from hfhooks.journal.sqlite import holder
from hfhooks.journal.sqlite.holder import DIED, STOPPED, UNKNOWN, Holder
from tests.journal.engines import record, taken


def test_who_has_it_is_said_to_this_user_alone(tmp_path: Path) -> None:
    Holder(tmp_path / "j.db").take("a server\non two lines")
    assert Holder(tmp_path / "j.db").name == "a server on two lines"
    assert stat.S_IMODE((tmp_path / "j.holder").stat().st_mode) == 0o600


def test_nobody_had_it_or_has_left_it(tmp_path: Path) -> None:
    first = Holder(tmp_path / "j.db")
    assert (first.name, first.end_of_the_last) == ("another server", UNKNOWN)
    first.take("a server")
    first.leave()
    assert Holder(tmp_path / "j.db").end_of_the_last == UNKNOWN


def test_one_that_has_died_is_told_from_one_that_was_stopped(tmp_path: Path) -> None:
    first = Holder(tmp_path / "j.db")
    first.take("a server")
    assert Holder(tmp_path / "j.db").end_of_the_last == DIED
    first.stopping()
    assert Holder(tmp_path / "j.db").end_of_the_last == STOPPED


def test_where_the_machine_was_started_anew_nobody_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Holder(tmp_path / "j.db").take("a server")
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(holder, "BOOT", tmp_path / "boot")
    assert Holder(tmp_path / "j.db").end_of_the_last == STOPPED


def test_one_of_an_earlier_version_says_nothing_of_its_end(tmp_path: Path) -> None:
    (tmp_path / "j.holder").write_text("pid 12, since 10:00")
    assert Holder(tmp_path / "j.db").end_of_the_last == UNKNOWN


def test_a_link_that_was_planted_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "j.holder").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic link"):
        Holder(tmp_path / "j.db").take("a server")
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("end", "first", "later", "status"),
    [
        (DIED, "lost", ["crashed"] * 3, "failed"),
        (UNKNOWN, "lost", ["lost"] * 3, "queued"),
        (STOPPED, "interrupted", ["interrupted"] * 3, "queued"),
    ],
)
async def test_what_ran_is_counted_only_where_it_ran_alone_and_nobody_stopped_the_server(
    tmp_path: Path, end: str, first: str, later: list[str], status: str
) -> None:
    """Once it ran beside others, then three times alone, if it was a suspect at all."""
    url = url_of(tmp_path / "journal.db")
    journal = open_journal(url, retention=None)
    await taken(journal)
    for _ in range(4):
        await journal.flush()
        await journal.close()
        if end != UNKNOWN:
            Holder(tmp_path / "journal.db").take("the last server")
        if end == STOPPED:
            with (tmp_path / "journal.holder").open("a") as file:
                file.write("stopping\n")
        journal = open_journal(url, retention=None)
        room = {"train": 9}
        for in_quarantine in (False, True):
            await journal.claim(room, in_quarantine)
    attempts = [attempt.status for attempt in await journal.attempts(1)]
    assert attempts == [first, *later]
    found = await journal.get(1)
    assert found and found.status in (status, "running")
    assert list(journal.given_up) == ([1] if status == "failed" else [])
    assert (await record(journal)).status == "queued"
    await journal.close()


async def test_a_server_notes_first_of_all_that_it_was_told_to_stop(tmp_path: Path) -> None:
    journal = open_journal(url_of(tmp_path / "journal.db"))
    journal.stopping()
    assert (tmp_path / "journal.holder").read_text().splitlines()[2:] == ["stopping"]
    await journal.close()
    assert not os.path.lexists(tmp_path / "journal.holder")
