"""What is deleted of what is finished."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfhooks.journal import open_journal, url_of
from hfhooks.journal.sqlite import writing
from hfhooks.journal.sqlite.holder import UNKNOWN
from hfhooks.journal.sqlite.pruning import Pruning, prune
from hfhooks.model.delivery import UNFINISHED, Claim, Verdict
from hfhooks.model.retention import Retention
from tests.journal.engines import NEW, ended, finish, taken

NOW = 1e9
DAY = 24 * 3600.0


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(empty()) as connection:
        yield connection


def empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("PRAGMA foreign_keys = 1; PRAGMA auto_vacuum = INCREMENTAL")
    writing.prepare(connection, UNKNOWN, Path("journal.db"), [])
    return connection


def add(connection: sqlite3.Connection, status: str, age: float, size: int = 10) -> int:
    """Add a delivery, so many days old, that has come to this."""
    delivery = replace(NEW, received_at=NOW - age * DAY, body=b"x" * size)
    if status in ("ignored", "queued"):
        return writing.insert(connection, replace(delivery, status=status), None)[0]
    id, _ = writing.insert(connection, delivery, NOW)
    claim = Claim(id, delivery, 1, "")
    writing.finish(connection, claim, ended(claim), Verdict("succeeded", status), None)
    return id


def kept(connection: sqlite3.Connection, **limits: Any) -> list[int]:
    """Return the ids of what is kept by these limits."""
    while prune(connection, Retention(**limits), NOW):
        pass
    return [id for (id,) in connection.execute("SELECT id FROM deliveries ORDER BY id")]


def test_finished_deliveries_go_when_they_are_old(connection: sqlite3.Connection) -> None:
    for age in (40.0, 31.0, 29.0, 0.0):
        add(connection, "succeeded", age)
    assert kept(connection) == [3, 4]


def test_finished_deliveries_go_beyond_a_number(connection: sqlite3.Connection) -> None:
    for status in ["succeeded", "failed"] * 3:
        add(connection, status, 0.0)
    assert kept(connection, deliveries=2) == [5, 6]


def test_finished_deliveries_go_beyond_a_size(connection: sqlite3.Connection) -> None:
    for _ in range(60):
        add(connection, "succeeded", 0.0, 100_000)
    left = kept(connection, mib=2)
    assert left == list(range(61 - len(left), 61)) and 15 <= len(left) <= 20
    pages, size = (
        connection.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "page_size")
    )
    assert pages * size < 8 * 1024 * 1024


def test_of_an_empty_file_much_is_given_back_at_once(connection: sqlite3.Connection) -> None:
    for _ in range(60):
        add(connection, "succeeded", 40.0, 100_000)
    steps = 1
    while prune(connection, Retention(), NOW):
        steps += 1
    assert connection.execute("PRAGMA page_count").fetchone()[0] < 1024
    assert steps < 10


def test_unfinished_deliveries_never_go(connection: sqlite3.Connection) -> None:
    for status in ["queued", "succeeded", "retrying", "succeeded", "queued", "ignored"]:
        add(connection, status, 99.0)
    assert kept(connection, deliveries=1, mib=0.01) == [1, 3, 5]


def test_attempts_and_bodies_go_with_their_delivery(connection: sqlite3.Connection) -> None:
    add(connection, "failed", 40.0)
    add(connection, "failed", 0.0)
    kept(connection)
    for table in ("attempts", "bodies"):
        assert connection.execute(f"SELECT delivery_id FROM {table}").fetchall() == [(2,)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["queued", "succeeded", "failed", "retrying", "ignored"]),
            st.floats(-400, 400),
        ),
        max_size=30,
    ),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_the_oldest_finished_ones_go_first(rows: list[tuple[str, float]], most: int) -> None:
    """As far as they are too old or too many, also where the clock has jumped."""
    with closing(empty()) as connection:
        for status, age in rows:
            add(connection, status, age)
        expected, may_go = [], True
        for id, (status, age) in enumerate(rows, 1):
            is_surplus = id <= len(rows) - most or age > 30
            if status in UNFINISHED:
                expected.append(id)
            elif not (may_go and is_surplus):
                may_go = False
                expected.append(id)
        assert kept(connection, deliveries=most) == expected


async def test_a_journal_deletes_when_it_is_opened(tmp_path: Path) -> None:
    url = url_of(tmp_path / "journal.db")
    journal = open_journal(url, now=lambda: NOW)
    for age in (40.0, 0.0):
        await finish(journal, await taken(journal, replace(NEW, received_at=NOW - age * DAY)))
    await journal.close()
    journal = open_journal(url, now=lambda: NOW, retention=Retention())
    async with asyncio.timeout(30):
        while (await journal.counts())["train", "succeeded"] != 1:
            pass
    await journal.close()


async def test_the_journal_stays_small_while_it_is_used(tmp_path: Path) -> None:
    keep = Retention(deliveries=300, mib=4)
    journal = open_journal(url_of(tmp_path / "journal.db"), retention=keep)
    for _ in range(30):
        large = replace(NEW, body=b"x" * 9000)
        some = await asyncio.gather(*(taken(journal, large) for _ in range(100)))
        await asyncio.gather(*(finish(journal, claim) for claim in some))
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    await journal.close()
    assert size < 16 * 1024 * 1024  # of 27 MB received; the log may have 4 MiB of it


class Clocks:
    """The time of day, which jumps, and the other, which does not."""

    def __init__(self) -> None:
        self.now, self.monotonic = NOW, 17.0

    def go_on(self, days: float) -> None:
        self.now += days * DAY
        self.monotonic += days * DAY


def begun(connection: sqlite3.Connection, clocks: Clocks) -> Pruning:
    pruning = Pruning(Retention(), lambda: clocks.now, lambda: clocks.monotonic)
    pruning.begin(connection)
    return pruning


def left(connection: sqlite3.Connection, pruning: Pruning) -> list[int]:
    while pruning(connection):
        pass
    return [id for (id,) in connection.execute("SELECT id FROM deliveries ORDER BY id")]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_clock_that_jumps_ahead_deletes_nothing(
    connection: sqlite3.Connection, is_running: bool
) -> None:
    clocks = Clocks()
    for age in (29.0, 0.0):
        add(connection, "succeeded", age)
    pruning = begun(connection, clocks)
    clocks.now += 60 * DAY
    if not is_running:
        pruning = begun(connection, clocks)
    add(connection, "succeeded", -60.0)
    assert left(connection, pruning) == [1, 2, 3]


def test_after_a_jump_deliveries_grow_old_as_before(connection: sqlite3.Connection) -> None:
    clocks = Clocks()
    for age in (29.0, 0.0):
        add(connection, "succeeded", age)
    pruning = begun(connection, clocks)
    clocks.now += 60 * DAY
    assert left(connection, pruning) == [1, 2]
    add(connection, "succeeded", -60.0)
    clocks.go_on(0.9)
    assert left(connection, pruning) == [1, 2, 3]
    for _ in range(12):
        clocks.go_on(0.9)
        left(connection, pruning)
    assert left(connection, pruning) == [2, 3]
    for _ in range(30):
        clocks.go_on(0.9)
        left(connection, pruning)
    assert left(connection, pruning) == []


def test_a_clock_that_jumps_back_deletes_nothing(connection: sqlite3.Connection) -> None:
    clocks = Clocks()
    add(connection, "succeeded", 0.0)
    pruning = begun(connection, clocks)
    clocks.now -= 400 * DAY
    add(connection, "succeeded", 400.0)
    assert left(connection, pruning) == [1, 2]
    clocks.now += 400 * DAY
    assert left(connection, pruning) == [1, 2]
