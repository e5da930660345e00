import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hfhooks.journal.sqlite.journal import Journal, Retention, Unfinished, open_journal
from hfhooks.journal.sqlite.records import Attempt, Delivery, Records
from tests.harness import wait_until

NEW = Delivery(
    endpoint="train",
    received_at=12.5,
    query="a=1",
    headers=(("content-type", "application/json"), ("x-webhook-secret", "s3cret")),
    body=b'{"a":  1e999, "a": 2}',
    event="repo.content:update",
    repo="dataset:me/data",
)
HUBS = replace(NEW, webhook_id="w1")


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def ending(delivery: Delivery, status: str) -> Attempt:
    return Attempt(delivery.attempts, 20.0, 0.5, status)


async def finish(journal: Journal, delivery: Delivery, status: str) -> Delivery:
    """Run a delivery through one attempt."""
    delivery = journal.claim(delivery, 20.0)
    assert await journal.finish(delivery, ending(delivery, status), status)
    return delivery


async def test_a_delivery_comes_back_as_it_was(journal: Journal) -> None:
    recorded = await journal.record(HUBS)
    found = journal.get(recorded.id)
    assert found is not None and found.body == NEW.body
    assert vars(found) == vars(recorded) | {"headers": (("content-type", "application/json"),)}


async def test_another_process_can_read_a_delivery(journal: Journal) -> None:
    recorded = await journal.record(HUBS)
    with Records(journal.path) as records:
        assert records.delivery(recorded.id) == journal.get(recorded.id)
        assert records.delivery(99) is None


async def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.record(NEW)
    journal.close()
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"repo.content:update" in written and b"s3cret" not in written


def test_headers_are_not_shown_by_accident() -> None:
    assert "s3cret" not in repr(NEW)


async def test_ids_follow_the_order_of_arrival(journal: Journal) -> None:
    recorded = await asyncio.gather(*(journal.record(NEW) for _ in range(500)))
    assert [delivery.id for delivery in recorded] == list(range(1, 501))


async def test_an_attempt_is_counted_when_it_starts(journal: Journal) -> None:
    delivery = await journal.record(NEW)
    claimed = journal.claim(delivery, 20.0)
    await journal.record(NEW)  # the writes are in order, so the claim is on disk too
    assert claimed.attempts == 1
    found = journal.get(delivery.id)
    assert found is not None and (found.status, found.attempts) == ("running", 1)


async def test_a_finished_delivery_keeps_its_attempts(journal: Journal) -> None:
    delivery = journal.claim(await journal.record(NEW), 20.0)
    crashed = Attempt(1, 20.0, 0.5, "crashed", error="died")
    assert await journal.finish(delivery, crashed, "queued")
    delivery = journal.claim(delivery, 30.0)
    succeeded = Attempt(2, 30.0, 0.25, "succeeded", 200, b"{}")
    assert await journal.finish(delivery, succeeded, "succeeded")
    assert journal.attempts(delivery.id) == [crashed, succeeded]
    found = journal.get(delivery.id)
    assert found is not None
    assert (found.status, found.attempts, found.crashes, found.failures) == ("succeeded", 2, 1, 0)


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
    await finish(journal, await journal.record(NEW), status)
    assert bool(journal.unfinished()) is is_unfinished


async def test_the_outcome_counts_even_if_its_start_did_not_reach_the_disk(
    journal: Journal,
) -> None:
    delivery = replace(await journal.record(NEW), attempts=1)  # the disk was full for its claim
    assert await journal.finish(delivery, ending(delivery, "succeeded"), "succeeded")
    found = journal.get(delivery.id)
    assert found is not None and (found.status, found.attempts) == ("succeeded", 1)


async def test_a_late_outcome_changes_nothing(journal: Journal) -> None:
    first = journal.claim(await journal.record(NEW), 20.0)
    assert await journal.finish(first, ending(first, "crashed"), "queued")
    assert not await journal.finish(first, ending(first, "succeeded"), "succeeded")
    second = journal.claim(first, 30.0)
    assert not await journal.finish(first, ending(first, "succeeded"), "succeeded")
    assert await journal.finish(second, ending(second, "failed"), "failed")
    assert not await journal.finish(second, ending(second, "succeeded"), "succeeded")
    found = journal.get(first.id)
    assert found is not None and found.status == "failed"
    assert [attempt.status for attempt in journal.attempts(first.id)] == ["crashed", "failed"]


@pytest.mark.parametrize(
    ("earlier", "again"),
    [
        ("queued", "duplicate"),
        ("running", "duplicate"),
        ("retrying", "duplicate"),
        ("succeeded", "duplicate"),
        ("failed", "queued"),
        ("ignored", "queued"),  # a filter may have changed since
    ],
)
async def test_what_the_hub_sends_again(journal: Journal, earlier: str, again: str) -> None:
    first = await finish(journal, await journal.record(HUBS), earlier)
    second = await journal.record(HUBS)
    assert (second.status, second.id) == (again, first.id if again == "duplicate" else 2)


@pytest.mark.parametrize(
    "other",
    [
        replace(HUBS, webhook_id="w2"),
        replace(HUBS, endpoint="deploy"),
        replace(HUBS, is_replay=True),
    ],
)
async def test_what_is_no_duplicate(journal: Journal, other: Delivery) -> None:
    await journal.record(HUBS)
    assert (await journal.record(other)).status == "queued"


async def test_without_an_id_of_the_hub_nothing_is_a_duplicate(journal: Journal) -> None:
    assert [(await journal.record(NEW)).status for _ in range(2)] == ["queued", "queued"]


async def test_of_many_copies_one_is_recorded(journal: Journal) -> None:
    """1,000 ids, 2 to 8 copies of each at once."""
    copies = [
        replace(NEW, webhook_id=f"w{number}")
        for number in range(1000)
        for _ in range(2 + number % 7)
    ]
    recorded = await asyncio.gather(*map(journal.record, copies))
    by_id: dict[str | None, list[Delivery]] = {}
    for delivery in recorded:
        by_id.setdefault(delivery.webhook_id, []).append(delivery)
    for same in by_id.values():
        assert [d.status for d in same] == ["queued"] + ["duplicate"] * (len(same) - 1)
        assert {d.id for d in same} == {same[0].id}
    assert len(journal.unfinished()) == 1000


async def test_what_a_killed_server_left_is_queued_again(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.record(NEW)
    running = journal.claim(await journal.record(NEW), 20.0)
    retrying = journal.claim(await journal.record(NEW), 20.0)
    await journal.finish(retrying, ending(retrying, "failed"), "retrying", due_at=1e12)
    crashed = journal.claim(await journal.record(NEW), 20.0)
    await journal.finish(crashed, ending(crashed, "crashed"), "queued")
    await finish(journal, await journal.record(NEW), "succeeded")
    journal.close()
    journal = open_journal(tmp_path)
    assert journal.unfinished() == [
        Unfinished(1, "train", has_crashed=False),
        Unfinished(2, "train", has_crashed=False),
        Unfinished(3, "train", has_crashed=False),
        Unfinished(4, "train", has_crashed=True),
    ]
    assert journal.attempts(running.id) == [Attempt(1, 20.0, 0.0, "interrupted")]
    again = journal.get(running.id)
    journal.close()
    assert again is not None and (again.status, again.attempts) == ("queued", 1)
    assert (again.failures, again.crashes) == (0, 0)


@pytest.mark.parametrize("body", [b"", b'{"a": 1e999, "a":2}', bytes(range(256)) * 400])
async def test_the_bytes_of_a_body_are_kept(journal: Journal, body: bytes) -> None:
    recorded = await journal.record(replace(NEW, body=body))
    found = journal.get(recorded.id)
    assert found is not None and found.body == body


async def pruned(
    folder: Path, ages: list[float], statuses: list[str], **limits: Any
) -> tuple[list[int], int]:
    """Return the ids that are kept of deliveries so many days old, and the size of the file."""
    now = 1e9
    journal = open_journal(folder, retention=Retention(**limits), now=lambda: now)
    for age, status in zip(ages, statuses, strict=True):
        received = replace(NEW, received_at=now - age * 24 * 3600, body=b"x" * 100_000)
        await finish(journal, await journal.record(received), status)
    journal.close()
    # The chore is done at the start, in steps, while nothing else is to be written.
    journal = open_journal(folder, retention=Retention(**limits), now=lambda: now)
    wait_until(lambda: journal._database._until_chore > 0)  # it has nothing left to do
    size = journal.path.stat().st_size
    journal.close()
    return [id for (id,) in rows(journal.path, "SELECT id FROM deliveries ORDER BY id")], size


async def test_finished_deliveries_go_when_they_are_old(tmp_path: Path) -> None:
    ages = [40.0, 31.0, 29.0, 0.0]
    assert (await pruned(tmp_path, ages, ["succeeded"] * 4))[0] == [3, 4]


async def test_finished_deliveries_go_beyond_a_number(tmp_path: Path) -> None:
    kept, _ = await pruned(tmp_path, [0.0] * 6, ["succeeded", "failed"] * 3, deliveries=2)
    assert kept == [5, 6]


async def test_finished_deliveries_go_beyond_a_size(tmp_path: Path) -> None:
    kept, size = await pruned(tmp_path, [0.0] * 60, ["succeeded"] * 60, mib=2)
    assert kept == list(range(61 - len(kept), 61)) and 15 <= len(kept) <= 20
    assert size < 8 * 1024 * 1024


async def test_unfinished_deliveries_never_go(tmp_path: Path) -> None:
    statuses = ["queued", "succeeded", "retrying", "succeeded", "running", "ignored"]
    kept, _ = await pruned(tmp_path, [99.0] * 6, statuses, deliveries=1, mib=0.01)
    assert kept == [1, 3, 5]


async def test_attempts_go_with_their_delivery(tmp_path: Path) -> None:
    await pruned(tmp_path, [40.0, 0.0], ["failed", "failed"])
    assert rows(tmp_path / "journal.db", "SELECT delivery_id FROM attempts") == [(2,)]


async def test_the_journal_stays_small_while_it_is_used(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, retention=Retention(deliveries=300, mib=4))
    for _ in range(30):
        some = await asyncio.gather(
            *(journal.record(replace(NEW, body=b"x" * 9000)) for _ in range(100))
        )
        await asyncio.gather(*(finish(journal, delivery, "succeeded") for delivery in some))
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    journal.close()
    assert size < 16 * 1024 * 1024  # of 27 MB received; the log may have 4 MiB of it
