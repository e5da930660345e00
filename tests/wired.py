"""A gateway and a worker in one event loop, joined by the frames that are between processes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import Fault
from hfhooks.gateway.app import Gateway
from hfhooks.http.listener import Listener, bind
from hfhooks.http.messages import Answer, Request
from hfhooks.journal import Journal, open_journal, url_of
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.model.happenings import Duplicate, Finished, Full, Happening, Ignored, Refused
from hfhooks.script.registry import Registry, collecting
from hfhooks.tasks import Tasks
from hfhooks.worker.app import build, direct_handlers
from hfhooks.worker.calls import Calls
from hfhooks.worker.frames import Frame, attempt_from, ending_from, of_attempt, of_ending

TOKEN = "the-owner"
NOW = 1_700_000_000.0


class Reports:
    """What happened, for a test to look at."""

    def __init__(self) -> None:
        self.all: list[Happening] = []
        self.faults: list[Fault] = []

    def __call__(self, happening: Happening) -> None:
        self.all.append(happening)

    @property
    def finished(self) -> list[Finished]:
        return [each for each in self.all if isinstance(each, Finished)]

    @property
    def ignored_because(self) -> list[str]:
        return [each.reason for each in self.all if isinstance(each, Ignored)]

    @property
    def refused(self) -> list[tuple[str, int, str]]:
        found = [each for each in self.all if isinstance(each, Refused)]
        return [(each.path, each.status, each.word) for each in found]

    @property
    def hints(self) -> list[str]:
        return [each.hint for each in self.all if isinstance(each, Refused) and each.hint]

    @property
    def duplicates(self) -> list[int]:
        return [each.id for each in self.all if isinstance(each, Duplicate)]

    @property
    def full_because(self) -> list[str | None]:
        return [each.reason for each in self.all if isinstance(each, Full)]


class WiredWorker:
    """Calls handlers on this loop; all that it hears and says goes through frames."""

    takes_more = True

    def __init__(self, call: Calls, tasks: Tasks) -> None:
        self._call, self._tasks = call, tasks

    def give_up(self, id: int) -> None:
        """Do nothing: what runs here has its task."""

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        asked = of_attempt(1, claim, secret)

        def answered(ending: Ending) -> None:
            said: Frame = of_ending(1, ending)
            ended(ending_from(said))

        self._tasks.one("a handler", self._call(*attempt_from(asked), answered))


async def body_of(request: Request) -> bytes:
    """Return the body of what a listener has got, when it is there. Raises `Refusal`."""
    there = asyncio.get_running_loop().create_future()
    request.read(lambda: there.set_result(None))
    await there
    return request.body


class Asked:
    """Takes a request and waits for its answer; see `http.messages.Taker`."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.faults: list[Fault] = []
        self.report = self.faults.append

    def answered(self, request: Request, answer: Answer) -> None:
        self.answer.set_result(answer)


async def settle(journal: Journal) -> None:
    """Let what happened before reach the disk, and be told."""
    if journal.condition.state == "healthy":
        await journal.flush()
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture(params=[{}], ids=[pytest.HIDDEN_PARAM])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal of the default engine, unless a test names another one, or limits."""
    options = dict(request.param)
    journal = open_journal(
        options.pop("url", url_of(tmp_path / "journal" / "journal.db")), **options
    )
    yield journal
    await journal.close()


IN_MEMORY = pytest.mark.parametrize("journal", [{"url": "memory:"}], indirect=True, ids=["memory"])
"""Marks a test whose journal is to fail as the test says."""


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
async def tasks(reports: Reports) -> AsyncIterator[Tasks]:
    """Whoever has a fault here, it fails the test."""
    tasks = Tasks(reports.faults.append, reports.faults.append)
    yield tasks
    await tasks.close()
    assert reports.faults == []


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Decorators in a test declare its endpoints."""
    with collecting(Registry(is_served=True)) as registry:
        yield registry


@asynccontextmanager
async def listening(gateway: Gateway, tasks: Tasks) -> AsyncIterator[str]:
    """Let a gateway answer real requests; yield its URL."""
    sock = bind("127.0.0.1", 0)
    listener = Listener(gateway.respond, sock, tasks, patience=1)
    task = asyncio.create_task(listener.listen())
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        listener.stop()
        await task
        sock.close()


def why_idle(dispatcher: Dispatcher) -> str | None:
    return None if dispatcher.has_worker else "no worker"


Open = Callable[..., Any]


@pytest.fixture
async def dispatcher(journal: Journal, reports: Reports, tasks: Tasks) -> Dispatcher:
    dispatcher = Dispatcher(journal, reports, tasks, now=lambda: NOW, chance=lambda: 0.5)
    await dispatcher.start()
    await dispatcher.quarantine.open()
    return dispatcher


@pytest.fixture
async def gateway(
    registry: Registry, journal: Journal, dispatcher: Dispatcher, reports: Reports, tasks: Tasks
) -> AsyncIterator[Open]:
    """Return a function that starts what the test declared and gives an HTTP client for it."""
    async with AsyncExitStack() as stack:

        async def start(wait: float = 5.0, **options: Any) -> httpx.AsyncClient:
            app, endpoints = build(registry)
            options |= {"url": "http://hooks.test", "wait": wait, "token": TOKEN}
            options |= {"now": lambda: NOW, "why_idle": lambda: why_idle(dispatcher)}
            gate = Gateway(journal, dispatcher, reports, **options)
            gate.publish(endpoints)
            dispatcher.use(
                WiredWorker(Calls(direct_handlers(app), app, lambda *_: None), tasks), endpoints
            )
            url = await stack.enter_async_context(listening(gate, tasks))
            http = httpx.AsyncClient(
                base_url=url, event_hooks={"response": [lambda _: settle(journal)]}, timeout=60
            )
            http.gateway = gate  # type: ignore[attr-defined] # for the tests that stop it
            return await stack.enter_async_context(http)

        yield start
        await dispatcher.drain(grace=1)


async def recorded(journal: Journal, id: int = 1) -> Recorded:
    """Return a delivery that must be there."""
    found = await journal.get(id)
    assert found
    return found


async def unfinished(journal: Journal) -> Sequence[int]:
    from hfhooks.model.delivery import UNFINISHED, Wanted

    return [each.id for each in await journal.list(Wanted(statuses=UNFINISHED))]
