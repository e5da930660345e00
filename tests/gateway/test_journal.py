import asyncio
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hfhooks.errors import JournalError
from hfhooks.gateway.journal import Attempt, Delivery, Journal, open_journal

NEW = Delivery(
    endpoint="train",
    received_at=12.5,
    query="a=1",
    headers=(("content-type", "application/json"), ("x-webhook-secret", "s3cret")),
    body=b'{"a":  1e999, "a": 2}',
    event="repo.content:update",
    repo="dataset:me/data",
    webhook_id="w1",
)


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def test_a_delivery_comes_back_as_it_was(journal: Journal) -> None:
    recorded = await journal.record(NEW)
    found = journal.get(recorded.id)
    assert found is not None and found.body == NEW.body
    assert vars(found) == vars(recorded) | {"headers": (("content-type", "application/json"),)}


async def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.record(NEW)
    journal.close()
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"repo.content:update" in written and b"s3cret" not in written


async def test_ids_follow_the_order_of_arrival(journal: Journal) -> None:
    recorded = await asyncio.gather(*(journal.record(NEW) for _ in range(500)))
    assert [delivery.id for delivery in recorded] == list(range(1, 501))


async def test_what_waits_shares_a_commit(journal: Journal) -> None:
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    journal._connection.set_trace_callback(count)  # to see what SQLite is told
    await asyncio.gather(*(journal.record(NEW) for _ in range(500)))
    assert 1 <= commits < 100


async def test_an_attempt_is_counted_when_it_starts(journal: Journal) -> None:
    delivery = await journal.record(NEW)
    claimed = journal.claim(delivery, 20.0)
    await journal.record(NEW)  # the writes are in order, so the claim is on disk too
    assert claimed.attempts == 1
    found = journal.get(delivery.id)
    assert found is not None and (found.status, found.attempts) == ("running", 1)


async def test_a_finished_delivery_keeps_its_attempts(journal: Journal) -> None:
    delivery = journal.claim(await journal.record(NEW), 20.0)
    await journal.finish(delivery, Attempt(1, 20.0, 0.5, "interrupted", error="died"), "queued")
    delivery = journal.claim(delivery, 30.0)
    await journal.finish(delivery, Attempt(2, 30.0, 0.25, "succeeded", 200, b"{}"), "succeeded")
    assert journal.attempts(delivery.id) == [
        Attempt(1, 20.0, 0.5, "interrupted", None, b"", "died"),
        Attempt(2, 30.0, 0.25, "succeeded", 200, b"{}", None),
    ]
    found = journal.get(delivery.id)
    assert found is not None and (found.status, found.attempts) == ("succeeded", 2)


async def test_answers_and_tracebacks_are_cut(journal: Journal) -> None:
    delivery = journal.claim(await journal.record(NEW), 20.0)
    long = Attempt(1, 20.0, 0.5, "failed", 500, b"x" * 10_000, "first\n" + "y" * 10_000 + "last")
    await journal.finish(delivery, long, "failed")
    [attempt] = journal.attempts(delivery.id)
    assert len(attempt.answer) == 4096
    assert attempt.error is not None and len(attempt.error) == 4096
    assert attempt.error.endswith("last")


@pytest.mark.parametrize(
    ("status", "is_unfinished"),
    [
        ("queued", True),
        ("running", True),
        ("retrying", True),
        ("succeeded", False),
        ("failed", False),
        ("ignored", False),
    ],
)
async def test_unfinished_deliveries(journal: Journal, status: str, is_unfinished: bool) -> None:
    delivery = journal.claim(await journal.record(NEW), 20.0)
    await journal.finish(delivery, Attempt(1, 20.0, 0.5, status), status)
    assert bool(journal.unfinished()) is is_unfinished


async def test_a_failed_commit_fails_every_write_in_it(journal: Journal) -> None:
    journal._connection.execute("PRAGMA query_only = 1")  # the disk says no
    failures = await asyncio.gather(
        *(journal.record(NEW) for _ in range(3)), return_exceptions=True
    )
    assert [type(failure) for failure in failures] == [JournalError] * 3
    journal._connection.execute("PRAGMA query_only = 0")
    assert (await journal.record(NEW)).id == 1


async def test_a_sender_that_left_does_not_stop_the_others(journal: Journal) -> None:
    left, stayed = (asyncio.ensure_future(journal.record(NEW)) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    assert (await stayed).id in (1, 2)


async def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    writes = [asyncio.ensure_future(journal.record(NEW)) for _ in range(50)]
    await asyncio.sleep(0)
    journal.close()
    assert rows(journal.path, "SELECT count(*) FROM deliveries") == [(50,)]
    await asyncio.gather(*writes)


def test_folder_and_files_are_the_users_alone(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "deep" / "journal")
    folder = journal.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob("journal.db*")}
    journal.close()
    assert set(modes.values()) == {0o600}, modes


def test_commits_reach_the_disk(journal: Journal) -> None:
    connection = journal._connection  # the promise is about this very connection
    pragmas = ("journal_mode", "synchronous", "foreign_keys")
    values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert values == ["wal", 2, 1]


def test_two_servers_never_share_a_journal(journal: Journal) -> None:
    with pytest.raises(JournalError, match="in use by another server") as caught:
        open_journal(journal.path.parent)
    assert caught.value.exit_code == 3
    assert "--state-dir" in str(caught.value.help)


def test_a_closed_journal_can_be_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        open_journal(tmp_path).close()
    assert rows(tmp_path / "journal.db", "PRAGMA user_version") == [(1,)]


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    rows(tmp_path / "journal.db", "PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="made by a newer hfhooks"):
        open_journal(tmp_path)


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 100])
def test_a_damaged_journal_is_said_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.db").write_bytes(content)
    with pytest.raises(JournalError, match="not a database"):
        open_journal(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        open_journal(tmp_path / "file" / "journal")


def test_a_refused_journal_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "journal.db").write_bytes(b"x" * 5000)
    with pytest.raises(JournalError):
        open_journal(tmp_path)
    assert threading.active_count() == before
