"""What each cause makes of /healthz and /readyz."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from hfhooks import webhook_endpoint
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import DiskError
from hfhooks.gateway.app import Gateway
from hfhooks.journal import Journal
from hfhooks.journal.backlog import Limits
from hfhooks.journal.memory import MemoryJournal
from hfhooks.model.condition import Condition
from hfhooks.model.endpoint import Endpoint
from hfhooks.tasks import Tasks
from tests.harness import until
from tests.journal.engines import NEW, finish, record, taken
from tests.wired import IN_MEMORY, TOKEN, Reports, listening

WELL = (200, 200, {"records": True, "runs": True, "why": []})


def two() -> None:
    @webhook_endpoint
    def one(payload: dict[str, Any]) -> None: ...

    @webhook_endpoint
    def another(payload: dict[str, Any]) -> None: ...


async def looked(http: Any) -> tuple[int, int, Any]:
    """Return the statuses of both, and what both say."""
    health, ready = [await http.get(path) for path in ("/healthz", "/readyz")]
    assert health.json() == ready.json()
    assert (await http.head("/readyz")).status_code == ready.status_code
    return health.status_code, ready.status_code, health.json()


def kept_from(why: str, *, runs: bool = True) -> tuple[int, int, Any]:
    return 503, 503, {"records": False, "runs": runs, "why": [why]}


async def test_without_a_worker_what_comes_is_recorded(
    gateway: Any, dispatcher: Dispatcher
) -> None:
    two()
    http = await gateway()
    assert await looked(http) == WELL
    dispatcher.lose()
    assert await looked(http) == (200, 503, {"records": True, "runs": False, "why": ["no worker"]})


async def test_while_another_program_has_the_journal_nothing_is_recorded(
    gateway: Any, journal: Journal
) -> None:
    two()
    http = await gateway()
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as another:  # type: ignore[attr-defined] # it is in a file
        another.execute("BEGIN IMMEDIATE")
        await until(lambda: journal.condition.state == "away")
        assert await looked(http) == kept_from("the journal is away", runs=False)
    await until(lambda: journal.condition.state == "healthy")
    assert await looked(http) == WELL


@pytest.mark.parametrize("journal", [{"min_free": 1 << 60}], indirect=True)
async def test_a_disk_that_is_full_records_nothing(gateway: Any, journal: Journal) -> None:
    two()
    http = await gateway()
    await until(lambda: journal.condition.state == "full")
    assert await looked(http) == kept_from("the journal is full")


@IN_MEMORY
async def test_a_disk_that_has_failed_records_nothing(gateway: Any, journal: MemoryJournal) -> None:
    two()
    http = await gateway()
    journal.become(Condition("failed", DiskError("the disk says no.")))
    assert await looked(http) == kept_from("the journal has failed", runs=False)


@pytest.mark.parametrize("journal", [{"limits": Limits(each=1)}], indirect=True)
async def test_the_backlog_of_one_endpoint_is_that_of_one(gateway: Any, journal: Journal) -> None:
    two()
    http = await gateway()
    await taken(journal, replace(NEW, endpoint="one"))
    assert await looked(http) == WELL
    another = await taken(journal, replace(NEW, endpoint="another"))
    assert await looked(http) == kept_from("too many deliveries wait")
    await finish(journal, another)
    assert await looked(http) == WELL
    await record(journal, replace(NEW, endpoint="another"))


@pytest.fixture
def stub(journal: Journal, dispatcher: Dispatcher, reports: Reports) -> Gateway:
    options: dict[str, Any] = {
        "url": "http://x",
        "wait": 0,
        "token": TOKEN,
        "why_idle": lambda: None,
    }
    return Gateway(journal, dispatcher, reports, **options)


async def test_before_the_start_and_after_the_end_nothing_is_recorded(
    stub: Gateway, tasks: Tasks
) -> None:
    async with listening(stub, tasks) as url, httpx.AsyncClient(base_url=url) as http:
        assert await looked(http) == kept_from("starting")
        stub.publish([Endpoint("a")], are_all=False)  # those of the last run
        assert await looked(http) == WELL
        stub.publish([Endpoint("a")])
        assert await looked(http) == WELL
        stub.stop()
        assert await looked(http) == kept_from("stopping", runs=False)
