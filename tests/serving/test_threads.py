"""Handlers in threads of this process. With a server around them: `test_notebook.py`."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fastapi import BackgroundTasks

from hfhooks import webhook_endpoint
from hfhooks.errors import EndpointError
from hfhooks.http.passage import Site
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Happening
from hfhooks.script.registry import Registry
from hfhooks.serving.threads import ThreadWorker
from hfhooks.tasks import Tasks
from tests.harness import JSON, until


class Host:
    """A worker in threads, and the work host that it tells of itself."""

    def __init__(self, registry: Registry, tasks: Tasks) -> None:
        self.worker = ThreadWorker(registry, self, tasks)
        self.used: list[tuple[list[str], float | None]] = []
        self.late: list[tuple[int, int, str | None]] = []
        self.threads: set[threading.Thread] = set()
        """Those that it was told in."""

    def use(
        self,
        worker: Any,
        endpoints: Sequence[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        assert worker is self.worker
        self.threads.add(threading.current_thread())
        self.used.append(([endpoint.name for endpoint in endpoints], reloaded_in))

    def lose(self) -> None:
        raise AssertionError("threads are not lost")

    def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        self.threads.add(threading.current_thread())
        self.late.append((id, number, error))

    def tell(self, happening: Happening) -> None:
        raise AssertionError(happening)

    def ask(self, name: str = "a", id: int = 1) -> "asyncio.Future[Ending]":
        """Have a handler called; return what will tell how that ended."""
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

        def hear(ending: Ending) -> None:
            self.threads.add(threading.current_thread())
            ended.set_result(ending)

        delivery = Recorded(name, 0.0, "", tuple(JSON.items()), b"{}")
        self.worker.attempt(Claim(id, delivery, 1, ""), None, hear)
        return ended


@pytest.fixture
async def host(registry: Registry, tasks: Tasks) -> AsyncIterator[Host]:
    host = Host(registry, tasks)
    yield host
    await host.worker.stop(grace=10)


async def test_handlers_are_called_in_other_threads_and_all_is_told_in_ours(host: Host) -> None:
    threads = []

    @webhook_endpoint
    def a() -> str:
        threads.append(threading.current_thread())
        return "a"

    @webhook_endpoint
    async def b() -> str:
        threads.append(threading.current_thread())
        return "b"

    await host.worker.start()
    assert [(await host.ask(name)).body for name in ("a", "b")] == [b'"a"', b'"b"']
    assert threading.current_thread() not in threads
    assert host.threads == {threading.current_thread()}
    assert host.used == [(["a", "b"], None)]


async def test_what_is_declared_anew_takes_the_place_of_what_there_is(
    host: Host, registry: Registry
) -> None:
    webhook_endpoint("/a")(lambda: 1)
    await host.worker.start()
    registry.registrations.clear()  # as a cell does that is run again
    webhook_endpoint("/a")(lambda: 2)
    webhook_endpoint("/b")(lambda: 3)
    await asyncio.to_thread(host.worker.update)
    [_, (names, seconds)] = host.used
    assert sorted(names) == ["a", "b"] and seconds is not None and 0 <= seconds < 30
    assert [(await host.ask(name)).body for name in ("a", "b")] == [b"2", b"3"]


async def test_what_cannot_be_served_changes_nothing(host: Host) -> None:
    webhook_endpoint("/a")(lambda: 1)
    await host.worker.start()
    webhook_endpoint("/b")(lambda *args: 2)
    with pytest.raises(EndpointError):
        await asyncio.to_thread(host.worker.update)
    assert (await host.ask()).body == b"1" and len(host.used) == 1


async def test_what_fails_after_the_answer_is_told(host: Host) -> None:
    @webhook_endpoint
    def a(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: 1 / 0)

    await host.worker.start()
    assert (await host.ask(id=7)).kind == "answered"
    await until(lambda: host.late)
    (id, number, error) = host.late[0]
    assert (id, number) == (7, 1) and "ZeroDivisionError" in str(error)
    assert host.threads == {threading.current_thread()}


async def test_a_stop_waits_for_what_runs(host: Host) -> None:
    go_on = threading.Event()

    @webhook_endpoint
    def a() -> str:
        go_on.wait(30)
        return "a"

    await host.worker.start()
    ending = host.ask()
    stopping = asyncio.create_task(host.worker.stop(grace=30))
    await asyncio.sleep(0)
    assert not stopping.done()
    go_on.set()
    await stopping
    assert (await ending).body == b'"a"'


async def test_a_stop_waits_no_longer_than_the_grace(host: Host) -> None:
    go_on = threading.Event()

    @webhook_endpoint
    def a() -> None:
        go_on.wait(30)

    await host.worker.start()
    ending = host.ask()
    await host.worker.stop(grace=0.01)
    assert not ending.done()
    go_on.set()
    await ending


async def test_one_that_was_not_started_need_not_be_stopped(host: Host) -> None:
    await host.worker.stop(grace=10)
    assert host.used == []
