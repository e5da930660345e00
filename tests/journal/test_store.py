"""Several hosts on one store. What one host alone sees: `test_contract.py`."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hfhooks.journal import Journal
from hfhooks.journal.backlog import Limits
from hfhooks.journal.memory import LEASE
from hfhooks.journal.store import Store
from hfhooks.model.delivery import Attempt, Claim, Verdict, Wanted
from hfhooks.model.endpoint import Endpoint, Published
from tests.harness import until
from tests.journal.engines import NEW, MemoryEngine, claimed, finish, record, taken

ROOM = {"train": 99}
NOW = 1e9
ONE = Wanted(ids=[1])
DONE, RAISED = Verdict("succeeded", "succeeded"), Verdict("raised", "failed")


def claim(store: Store, owner: str = "one") -> Claim:
    [claim] = store.claim({"train": 1}, owner, NOW)
    return claim


def end(store: Store, claim: Claim, verdict: Verdict = DONE) -> bool:
    return store.finish(claim, Attempt(claim.number, NOW, 0.5, verdict.attempt), verdict, NOW)


@pytest.fixture
def store() -> Store:
    """One with a delivery that waits."""
    store = Store()
    store.record(NEW, None, NOW)
    return store


def test_a_claim_belongs_to_the_host_that_has_it(store: Store) -> None:
    first = claim(store, "one")
    store.release([first])
    second = claim(store, "two")
    assert (first.number, second.number) == (1, 1)
    assert not end(store, first)
    store.release([first])
    assert end(store, second)


@pytest.mark.parametrize(("seconds", "status"), [(LEASE - 1, "running"), (LEASE + 1, "queued")])
def test_a_claim_holds_for_a_lease(store: Store, seconds: float, status: str) -> None:
    store.leases["one"] = NOW + LEASE
    claim(store, "one")
    store.take_back(NOW + seconds)
    assert store.rows[1].status == status


def test_what_is_taken_back_has_one_attempt_that_was_lost(store: Store) -> None:
    late = claim(store)
    for _ in range(2):
        store.take_back(NOW)
    assert [(each.number, each.status) for each in store.rows[1].attempts] == [(1, "lost")]
    assert not end(store, late)
    assert store.claim(ROOM, "two", NOW) == []
    [again] = store.claim(ROOM, "two", NOW, in_quarantine=True)
    assert again.number == 2


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        (lambda store: store.record(NEW, None, NOW), True),
        (lambda store: store.claim(ROOM, "one", NOW), True),
        (lambda store: store.claim({}, "one", NOW), False),
        (lambda store: end(store, claim(store)), True),
        (lambda store: store.release([claim(store)]), True),
        (lambda store: (claim(store), store.take_back(NOW)), True),
        (lambda store: store.amend(1, 1, "late", "raised"), True),
        (lambda store: store.amend(1, 1, None, "raised"), True),
        (lambda store: store.cancel(ONE), True),
        (lambda store: store.requeue(ONE), False),
        (lambda store: (end(store, claim(store), RAISED), store.requeue(ONE)), True),
    ],
)
def test_followers_are_told_of_what_has_changed(
    store: Store, change: Callable[[Store], object], is_told: bool
) -> None:
    told: list[tuple[int, str]] = []
    store.followers.append(lambda rows: told.extend((row.id, row.status) for row in rows))
    change(store)
    newest = store.rows[store.newest]
    assert told[-1:] == ([(newest.id, newest.status)] if is_told else [])


def test_what_all_hosts_have_not_finished_counts(store: Store) -> None:
    assert store.backlog(Limits(each=1)).refusal("train")
    end(store, claim(store))
    assert not store.backlog(Limits(each=1)).refusal("train")


def test_what_is_deleted_has_a_number_that_is_not_used_again(store: Store) -> None:
    end(store, claim(store))
    assert store.prune(NOW) == 1
    store.record(NEW, None, NOW)
    assert list(store.rows) == [2]


# Hosts, each with its journal


@pytest.fixture
async def engine() -> MemoryEngine:
    return MemoryEngine(Path("unused"))


@pytest.fixture
async def hosts(engine: MemoryEngine) -> list[Journal]:
    return [await engine.open(name) for name in ("one", "two")]


async def test_a_host_that_is_heard_of_keeps_what_it_has(
    engine: MemoryEngine, hosts: list[Journal]
) -> None:
    one, two = hosts
    held = await taken(one)
    for _ in range(3):
        engine.now += LEASE - 1
        await one.extend()
        assert await two.claim(ROOM) == []
    assert await finish(one, held)


async def test_what_a_host_that_is_not_heard_of_had_is_the_others(
    engine: MemoryEngine, hosts: list[Journal]
) -> None:
    one, two = hosts
    late = await taken(one)
    engine.now += LEASE + 1
    again = await claimed(two)
    assert (again.number, again.owner) == (2, "two")
    assert not await finish(one, late) and await finish(two, again)


async def test_each_host_is_told_of_what_comes_to_any(hosts: list[Journal]) -> None:
    told: list[str] = []
    for name, host in zip(("one", "two"), hosts, strict=True):
        host.when_due(partial(told.append, name))
    await record(hosts[0])
    assert told == ["one", "two"]


async def test_who_follows_sees_what_is_taken_back(
    engine: MemoryEngine, hosts: list[Journal]
) -> None:
    one, two = hosts
    seen: list[tuple[int, str]] = []

    async def follow() -> None:
        async for each in two.follow(after=0):
            seen.append((each.id, each.status))  # noqa: PERF401 # it is looked at meanwhile

    await taken(one)
    following = asyncio.ensure_future(follow())
    await until(lambda: seen == [(1, "running")])
    engine.now += LEASE + 1
    await two.claim({})
    await until(lambda: seen[1:] == [(1, "queued")])
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_what_hosts_serve_is_what_all_of_them_serve(hosts: list[Journal]) -> None:
    for name, host in zip("ab", hosts, strict=True):
        await host.publish([Published.of(Endpoint(name), ())])
    assert [each.endpoint.name for each in await hosts[0].endpoints()] == ["a", "b"]


async def test_a_host_that_has_left_is_told_nothing(hosts: list[Journal]) -> None:
    told: list[int] = []
    hosts[1].when_due(lambda: told.append(1))
    await hosts[1].close()
    await record(hosts[0])
    assert told == []
