"""A gateway and a worker in one event loop, joined by a real Unix socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from hfhooks.dispatch.client import WorkerClient
from hfhooks.dispatch.dispatcher import Dispatcher, Outcome
from hfhooks.errors import JournalError
from hfhooks.gateway.app import Gateway
from hfhooks.http.listener import Listener, bind
from hfhooks.journal.sqlite.journal import Journal, open_journal
from hfhooks.journal.sqlite.records import Delivery
from hfhooks.model.endpoint import Endpoint
from hfhooks.script.registry import Registry, collecting
from hfhooks.worker.app import build
from hfhooks.worker.listener import Listener as WorkerListener

TOKEN = "the-owner"
NOW = 1_700_000_000.0


@dataclass
class Reports:
    """What the gateway said, for a test to look at."""

    outcomes: list[Outcome] = field(default_factory=list)
    ignored_because: list[str] = field(default_factory=list)
    refusals: list[tuple[str, int, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    full_because: list[str | None] = field(default_factory=list)

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def ignored(self, delivery: Delivery, reason: str) -> None:
        self.ignored_because.append(reason)

    def duplicate(self, delivery: Delivery) -> None:
        self.duplicates.append(delivery.id)

    def full(self, reason: str | None) -> None:
        self.full_because.append(reason)

    def refused(self, path: str, status: int, word: str, hint: str | None) -> None:
        self.hints += [hint] if hint else []
        self.refusals.append((path, status, word))


async def until(condition: Callable[[], Any]) -> None:
    """Let the event loop turn until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def settle(journal: Journal) -> None:
    """Let what happened before reach the disk, and be reported."""
    with suppress(JournalError):
        await journal._database.commit(lambda _: None)
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(tmp_path / "journal")
    yield journal
    journal.close()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Decorators in a test declare its endpoints."""
    with collecting(Registry(is_served=True)) as registry:
        yield registry


@asynccontextmanager
async def worker(registry: Registry, path: Path) -> AsyncIterator[tuple[Any, list[Endpoint]]]:
    """Serve what the test declared on a Unix socket."""
    app, endpoints = build(registry)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    started = asyncio.Event()
    listener = WorkerListener(app, sock, started.set)
    listening = asyncio.create_task(listener.listen())
    await started.wait()
    client = WorkerClient(str(path))
    try:
        yield client, endpoints
    finally:
        client.close()
        listener.stop()
        await listening


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[str]:
    """Let a gateway answer real requests; yield its URL."""
    sock = bind("127.0.0.1", 0)
    listener = Listener(gateway.respond, sock, patience=1)
    task = asyncio.create_task(listener.listen())
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    listener.stop()
    await task
    sock.close()


Open = Callable[..., Any]


@pytest.fixture
async def dispatcher(journal: Journal, reports: Reports) -> Dispatcher:
    return Dispatcher(journal, reports.finished, now=lambda: NOW, chance=lambda: 0.5)


@pytest.fixture
async def gateway(
    registry: Registry, journal: Journal, dispatcher: Dispatcher, reports: Reports, tmp_path: Path
) -> AsyncIterator[Open]:
    """Return a function that starts what the test declared and gives an HTTP client for it."""
    async with AsyncExitStack() as stack:

        async def start(wait: float = 5.0, **options: Any) -> httpx.AsyncClient:
            client, endpoints = await stack.enter_async_context(
                worker(registry, tmp_path / "w.sock")
            )
            options |= {"url": "http://hooks.test", "wait": wait, "token": TOKEN}
            options |= {"now": lambda: NOW}
            gate = Gateway(journal, dispatcher, reports, **options)
            gate.publish(endpoints)
            dispatcher.use(client, endpoints)
            url = await stack.enter_async_context(listening(gate))
            http = httpx.AsyncClient(
                base_url=url, event_hooks={"response": [lambda _: settle(journal)]}, timeout=60
            )
            http.gateway = gate  # type: ignore[attr-defined] # for the tests that stop it
            return await stack.enter_async_context(http)

        yield start
        await dispatcher.drain(grace=1)
