"""A whole server in this process, with places to break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, current_thread
from typing import Any, Protocol, TypeVar

import httpx

from hfhooks.errors import Fault
from hfhooks.http.listener import bind
from hfhooks.journal import Journal, open_journal
from hfhooks.model.happenings import Broken, Failed, Happening, Happenings, Ready
from hfhooks.script.registry import Registry
from hfhooks.serving.node import Node, Workers
from hfhooks.serving.service import Service
from hfhooks.serving.signals import Stop, settle
from hfhooks.serving.sockets import Sockets
from hfhooks.serving.threads import ThreadWorker
from hfhooks.settings import Settings
from hfhooks.supervisor.options import Options
from hfhooks.supervisor.spawn import Spawned
from hfhooks.supervisor.supervisor import Supervisor
from hfhooks.supervisor.targets import find_targets
from hfhooks.tasks import Tasks
from hfhooks.tunnels.tunnel import Tunnel
from tests.faults.inject import break_at
from tests.harness import until

T = TypeVar("T")


class Break(Protocol):
    def __call__(self, seam: str, within: str = "", is_once: bool = False) -> Event:
        """Break a seam while the event is set, which one that `is_once` clears.

        It is that of this process, or of what runs within one task or thread of it.
        """


def breaking(put: Callable[..., None]) -> Break:
    """Return what breaks a seam, by a function like `setattr` that is undone later."""

    def broken(seam: str, within: str = "", is_once: bool = False) -> Event:
        struck = Event()

        def is_struck() -> bool:
            if not struck.is_set() or (within and within not in running()):
                return False
            if is_once:
                struck.clear()
            return True

        break_at(seam, is_struck, put)
        return struck

    return broken


def running() -> set[str]:
    """Return the names of the thread and the task that this is called in."""
    names = {current_thread().name}
    with suppress(RuntimeError):  # there is no event loop here
        if task := asyncio.current_task():
            names.add(task.get_name())
    return names


class Running:
    """A server that runs, and what was heard of it."""

    def __init__(self, stop: Stop) -> None:
        self.told: list[Happening] = []
        self.stop = stop
        self.journal: Journal
        self.http: httpx.AsyncClient
        """Of what everybody reaches."""
        self.inspector: httpx.AsyncClient

    def hear(self, happening: Happening) -> None:
        self.told.append(happening)

    def heard(self, kind: type[T]) -> list[T]:
        """Return what was told of this kind."""
        return [each for each in self.told if isinstance(each, kind)]

    @property
    def faults(self) -> list[str]:
        """The parts that had a fault, as they are told."""
        errors = [each.error for each in self.heard(Failed)]
        return [str(each).split(": ")[0] for each in errors if isinstance(each, Fault)]

    async def had_a_fault(self, part: str) -> None:
        await until(lambda: f"a fault in {part}" in self.faults)

    async def post(self, endpoint: str = "a") -> int:
        """Send something; return the status of the answer."""
        return (await self.http.post(f"/webhooks/{endpoint}", json={})).status_code


def in_threads(registry: Registry) -> Callable[[Service, Tasks], Workers]:
    return lambda service, tasks: ThreadWorker(registry, service, tasks)


def in_a_process(script: Path, **options: Any) -> Callable[[Service, Tasks], Workers]:
    options = {"reload": True, **options}
    find = partial(find_targets, [str(script)])
    return lambda service, tasks: Supervisor(find, service, tasks, Spawned(), Options(**options))


@asynccontextmanager
async def serving(
    workers: Callable[[Service, Tasks], Workers],
    tunnel: Tunnel | None = None,
    journal: str = "memory:",
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run a server until the end of the block."""
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    running = Running(loop.create_future())
    running.journal = open_journal(journal)
    with bind("127.0.0.1", 0) as public, bind("127.0.0.1", 0) as own:
        sockets = Sockets(public, own, tunnel, connections=100)
        node = Node(
            "app.py",
            journal,
            Settings(**{"grace": 1, **settings}),
            sockets,
            running.journal,
            Happenings(running.hear),
            running.stop,
            workers,
        )
        url = f"http://127.0.0.1:{sockets.port}"
        serving = asyncio.create_task(node.run())
        async with _client(url) as running.http, _client(sockets.own_url) as running.inspector:
            await until(lambda: running.heard(Ready) or running.heard(Broken) or serving.done())
            try:
                yield running
            finally:
                settle(running.stop, 0)
                await serving
                loop.set_exception_handler(handler)


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=30)
