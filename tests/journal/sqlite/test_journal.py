"""What the SQLite engine does beside what every engine does."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from hfhooks.errors import JournalError, JournalTaken, UsageError
from hfhooks.journal import open_journal, open_reading, path_of, url_of
from hfhooks.journal.sqlite.reading import (
    SELECT_ATTEMPTS,
    SELECT_ONE,
    SELECT_SUMMARIES,
    SELECT_UNFINISHED,
    matches,
    parameters,
)
from hfhooks.journal.sqlite.writing import (
    GIVE_UP,
    QUEUE,
    RECOVER_FIRST,
    RECOVER_FURTHER,
    SELECT_CANCELLED,
    SELECT_REQUEUED,
)
from hfhooks.model.condition import Condition
from hfhooks.model.delivery import UNFINISHED, Wanted
from hfhooks.tasks import in_thread
from tests.harness import content_of, copy_folder, until
from tests.journal.engines import NEW, claimed, finish, record, taken


@pytest.fixture
def url(tmp_path: Path) -> str:
    return url_of(tmp_path / "a folder" / "journal.db")


def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path_of(url))) as connection:
        return connection.execute(sql).fetchall()


async def test_secrets_never_reach_the_disk(url: str) -> None:
    journal = open_journal(url)
    await record(journal, NEW)
    await journal.close()
    written = b"".join(file.read_bytes() for file in path_of(url).parent.iterdir())
    assert b"repo.content:update" in written and b"s3cret" not in written


def test_headers_are_not_shown_by_accident() -> None:
    assert "s3cret" not in repr(NEW)


async def test_what_is_taken_at_once_has_all_its_headers(url: str) -> None:
    journal = open_journal(url)
    assert ("x-webhook-secret", "s3cret") in (await taken(journal)).delivery.headers
    await record(journal)
    assert ("x-webhook-secret", "s3cret") in (await claimed(journal)).delivery.headers
    await record(journal)
    await journal.close()
    journal = open_journal(url)
    claims = await journal.claim({"train": 9})
    assert {claim.delivery.headers for claim in claims} == {NEW.headers[:1]}
    await journal.close()


async def test_a_second_host_is_told_who_has_it(url: str) -> None:
    journal = open_journal(url, owner="process 7 on port 7860")
    with pytest.raises(JournalTaken, match="in use by process 7 on port 7860"):
        open_journal(url)
    await journal.close()


async def test_what_waits_is_read_when_memory_has_no_room_for_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.journal.due.MOST_BYTES", 10)
    journal = open_journal(url)
    await record(journal)
    assert (await claimed(journal)).delivery.body == NEW.body
    await journal.close()


async def test_a_row_that_somebody_has_deleted_concerns_that_delivery_alone(url: str) -> None:
    journal = open_journal(url)
    await record(journal)
    await record(journal)
    await journal.close()
    journal = open_journal(url)
    with closing(sqlite3.connect(path_of(url))) as another:
        another.execute("DELETE FROM deliveries WHERE id = 1")
        another.commit()
    assert [claim.id for claim in await journal.claim({"train": 9})] == [2]
    await journal.close()


async def test_the_outcome_counts_even_if_its_start_did_not_reach_the_disk(url: str) -> None:
    journal = open_journal(url)
    claim = await taken(journal)
    await finish(journal, claim, "queued")
    again = await claimed(journal)
    with closing(sqlite3.connect(path_of(url))) as another:  # the disk was full for its claim
        another.execute("UPDATE deliveries SET status = 'queued', attempt_count = 1")
        another.commit()
    assert await finish(journal, again)
    found = await journal.get(1)
    assert found and (found.status, found.attempt_count) == ("succeeded", 2)
    await journal.close()


async def test_claims_and_outcomes_wait_for_the_next_commit(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.journal.sqlite.database.SOON", 60)
    journal = open_journal(url)
    await record(journal)
    claim = await claimed(journal)
    ending = asyncio.ensure_future(finish(journal, claim))
    await asyncio.sleep(0)
    assert (await journal.list(Wanted()))[0].status == "queued" and not ending.done()
    await record(journal)
    assert await ending and (await journal.list(Wanted(ids=[1])))[0].status == "succeeded"
    await journal.close()


@pytest.mark.parametrize("is_killed", [False, True])
async def test_no_id_comes_back_though_everything_is_deleted(
    url: str, tmp_path: Path, is_killed: bool
) -> None:
    journal = open_journal(url)
    for _ in range(3):
        await finish(journal, await taken(journal))
    assert await journal.prune(1e12) == 3
    if is_killed:  # what is in the files is what a kill leaves
        copy_folder(path_of(url).parent, tmp_path / "copy")
    await journal.close()
    left = url_of(tmp_path / "copy" / "journal.db") if is_killed else url
    journal = open_journal(left)
    assert (await record(journal)).id == 4
    await journal.close()


YEAR = 365 * 24 * 3600.0


@pytest.mark.parametrize("set_by", [-YEAR, -600.0, YEAR])
async def test_a_clock_that_is_set_while_no_server_runs_postpones_nothing(
    url: str, set_by: float
) -> None:
    now = 1e9

    def opened() -> Any:
        return open_journal(url, now=lambda: now, steady=lambda: now)

    journal = opened()
    await finish(journal, await taken(journal), "retrying", retry_after=3600.0, is_pause_asked=True)
    await journal.close()
    now += set_by
    for _ in range(3):  # each start counts from the first one
        journal = opened()
        [left] = await journal.list(Wanted())
        is_early = bool(await journal.claim({"train": 1}))
        assert is_early is (set_by > 0)
        if is_early:
            break
        now += 1000
        await journal.flush()
        await journal.close()
    else:
        assert left.due_at == pytest.approx(1e9 + set_by + 3600)
        now += 600
        journal = opened()
        await claimed(journal)
    await journal.close()


RETRYING, ALL_UNFINISHED = Wanted(statuses=("retrying",)), Wanted(statuses=UNFINISHED)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (SELECT_ONE, None),
        (SELECT_ATTEMPTS, None),
        (SELECT_SUMMARIES, ALL_UNFINISHED),
        (SELECT_SUMMARIES, RETRYING),
        (SELECT_REQUEUED, RETRYING),
        (SELECT_CANCELLED, ALL_UNFINISHED),
        (SELECT_UNFINISHED, ALL_UNFINISHED),
        *((query, ALL_UNFINISHED) for query in (RECOVER_FIRST, RECOVER_FURTHER, GIVE_UP, QUEUE)),
    ],
)
async def test_nothing_looks_at_all_there_is_for_a_few(
    url: str, query: str, wanted: Wanted | None
) -> None:
    await open_journal(url).close()
    recovering = {"beside": "lost", "alone": "crashed", "why": ""}
    values = parameters(wanted) | recovering if wanted else (1,) * query.count("?")
    explained = f"EXPLAIN QUERY PLAN {query.format(matches=wanted and matches(wanted))}"
    with closing(sqlite3.connect(path_of(url))) as connection:
        plan = [step for *_, step in connection.execute(explained, values)]
    looks = [step for step in plan if step.startswith(("SEARCH", "SCAN"))]
    assert "SEARCH deliveries" in " ".join(looks)
    assert not [step for step in looks if step.split()[:2] == ["SCAN", "deliveries"]], plan
    assert not [step for step in looks if step.split()[:2] == ["SCAN", "further_attempts"]], plan


async def test_a_failed_disk_is_said_and_nothing_is_acknowledged(url: str) -> None:
    journal = open_journal(url)
    conditions: list[Condition] = []
    journal.when_changed(conditions.append)
    claim = await taken(journal)
    with closing(sqlite3.connect(path_of(url))) as another:
        another.execute("DROP TABLE bodies")
    with pytest.raises(JournalError) as caught:
        await record(journal)
    assert conditions == [Condition("failed", caught.value)] == [journal.condition]
    with pytest.raises(JournalError):
        await finish(journal, claim)
    await journal.close()


async def test_a_full_disk_is_said_until_there_is_room(url: str) -> None:
    journal = open_journal(url, min_free=1 << 60)
    conditions: list[str] = []
    journal.when_changed(lambda condition: conditions.append(condition.state))
    with pytest.raises(JournalError, match="the disk is nearly full"):
        await record(journal)
    assert conditions == ["full"]
    await journal.close()


async def test_a_command_reads_beside_the_host(url: str) -> None:
    journal = open_journal(url)
    await finish(journal, await taken(journal))
    reading = open_reading(url)
    assert await reading.get(1) == await journal.get(1)
    assert list(await reading.attempts(1)) == list(await journal.attempts(1))
    assert list(await reading.list(Wanted())) == list(await journal.list(Wanted()))
    assert await reading.counts() == await journal.counts()
    await reading.close()
    await journal.close()


async def test_of_a_failed_disk_nothing_is_copied_when_closing(url: str) -> None:
    journal = open_journal(url)
    await record(journal)
    before = content_of(path_of(url))
    with closing(sqlite3.connect(path_of(url))) as another:
        another.execute("PRAGMA wal_autocheckpoint = 0")
        another.execute("DROP TABLE bodies")
    with pytest.raises(JournalError):
        await record(journal)
    await journal.close()
    assert content_of(path_of(url)) == before
    assert path_of(url).with_name("journal.db-wal").stat().st_size > 0


def test_where_there_is_none_that_is_said(url: str) -> None:
    with pytest.raises(JournalError, match="unable to open"):
        open_reading(url)


async def test_a_command_follows_what_a_host_does(url: str) -> None:
    journal = open_journal(url)
    first = await taken(journal)
    await finish(journal, await taken(journal), "failed")
    seen: list[tuple[int, str]] = []
    reading = open_reading(url)

    async def follow() -> None:
        async for each in reading.follow(after=2):
            seen.append((each.id, each.status))  # noqa: PERF401 # it is looked at meanwhile

    following = asyncio.ensure_future(follow())
    await record(journal, replace(NEW, endpoint="deploy"))
    await until(lambda: seen == [(3, "queued")])
    await finish(journal, first)
    await until(lambda: (1, "succeeded") in seen)
    await journal.requeue(Wanted(ids=[2]))  # it was finished
    await until(lambda: (2, "queued") in seen)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await reading.close()
    await journal.close()


async def test_deliveries_are_read_while_the_loop_turns(url: str) -> None:
    journal = open_journal(url)
    await record(journal)
    reading = [asyncio.ensure_future(journal.get(1)) for _ in range(20)]
    assert not any(each.done() for each in reading)  # they are read in another thread
    assert {(await each).id for each in reading if await each} == {1}  # type: ignore[union-attr]
    await journal.close()


@pytest.mark.parametrize("url", ["postgres://x", "sqlite:relative.db", "/tmp/journal.db", ""])
def test_a_journal_needs_a_journals_url(url: str) -> None:
    with pytest.raises(UsageError, match="is no journal: write sqlite:///path"):
        path_of(url)


def test_any_path_has_a_url(tmp_path: Path) -> None:
    path = tmp_path / "with space & 100%" / "journal.db"
    assert path_of(url_of(path)) == path


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///tmp/a.db", "/tmp/a.db"),
        ("sqlite:////tmp/a.db", "/tmp/a.db"),
        ("sqlite:///a%20b/%3F.db", "/a b/?.db"),
    ],
)
def test_a_url_means_one_file(url: str, path: str) -> None:
    assert path_of(url) == Path(path)
    assert path_of(url_of(Path(path))) == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "a.db",
        "/a.db",
        "sqlite:a.db",
        "sqlite://a.db",
        "sqlite:///a?mode=ro",
        "memory:",
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite:///a%00b",
    ],
)
def test_what_means_no_file_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError, match=r"is no journal: write sqlite:///path/to/journal\.db"):
        path_of(url)


async def test_thousands_are_made_due_in_one_commit(url: str) -> None:
    await open_journal(url).close()
    some = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)"
    insert = "INSERT INTO deliveries (endpoint, received_at, query, headers, status)"
    with closing(sqlite3.connect(path_of(url))) as connection:
        connection.execute(f"{some} {insert} SELECT 'train', 1, '', '[]', 'failed' FROM n")
        connection.commit()
    journal = open_journal(url)
    seen: set[tuple[int]] = set()
    is_done = Event()

    failed = "SELECT count(*) FROM deliveries WHERE status = 'failed'"

    def look() -> None:
        with closing(sqlite3.connect(path_of(url))) as connection:
            while not is_done.is_set():
                seen.update(connection.execute(failed))

    looking = asyncio.ensure_future(in_thread(look))
    await until(lambda: seen)
    assert len(await journal.requeue(Wanted(statuses=("failed",), limit=10_000))) == 9000
    await until(lambda: (0,) in seen)
    is_done.set()
    await looking
    assert seen == {(9000,), (0,)}
    await journal.close()
