"""Faults of helpers, and of one of many, in a server's own process."""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi import BackgroundTasks

from hfhooks import webhook_endpoint
from hfhooks.errors import Fault
from hfhooks.model.delivery import Recorded, Wanted
from hfhooks.model.happenings import Broken, Progress, Ready, Reloaded, TunnelUp
from hfhooks.script.registry import Registry
from hfhooks.supervisor.spares import LONGEST_WARM_UP
from hfhooks.tasks import Tasks
from hfhooks.tunnels.tunnel import Tell
from tests.faults.inventory import proves
from tests.faults.node import Break, Running, breaking, in_a_process, in_threads, serving
from tests.harness import polled, until
from tests.journal.engines import finish, record
from tests.zygote import Forked

CLOSED = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    return breaking(partial(monkeypatch.setattr, raising=False))


@pytest.fixture
async def server(registry: Registry) -> AsyncIterator[Running]:
    """A server that calls handlers in threads."""
    webhook_endpoint("/a")(lambda: "a")
    async with serving(in_threads(registry)) as server:
        yield server


async def test_without_a_fault_nothing_is_told(server: Running) -> None:
    assert await server.post() == 200
    assert server.faults == []


@proves("a connection")
@pytest.mark.parametrize(
    "seam", ["hfhooks.journal.memory:MemoryJournal.record", "hfhooks.gateway.exchange:receive"]
)
async def test_a_request_with_a_fault_gets_a_500(server: Running, broken: Break, seam: str) -> None:
    struck = broken(seam)
    struck.set()
    assert await server.post() == 500
    struck.clear()
    assert await server.post() == 200
    assert server.faults == ["a fault in answering a request"]


@proves("a connection")
async def test_a_connection_that_cannot_be_answered_is_closed(
    server: Running, broken: Break
) -> None:
    struck = broken("hfhooks.http.turns:encoded")
    struck.set()
    with pytest.raises(CLOSED):
        await server.post()
    struck.clear()
    assert await server.post() == 200
    assert server.faults == ["a fault in a connection"]


async def test_a_connection_that_cannot_be_read_is_closed(server: Running, broken: Break) -> None:
    struck = broken("hfhooks.http.parser:Parser.feed")
    struck.set()
    with pytest.raises(CLOSED):
        await server.post()
    struck.clear()
    assert await server.post() == 200
    assert server.faults == ["a fault in the event loop"]


@proves("the inspector")
async def test_the_inspector_is_started_again(server: Running, broken: Break) -> None:
    struck = broken("hfhooks.http.connection:Connection.deadline")
    assert (await server.inspector.get("/metrics")).status_code == 200
    struck.set()
    await server.had_a_fault("the inspector")
    struck.clear()
    assert await server.post() == 200
    assert (await server.inspector.get("/metrics")).status_code == 200
    assert set(server.faults) == {"a fault in the inspector"}


async def test_a_server_stops_while_its_inspector_waits_to_begin_again(
    registry: Registry, broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.serving.node.Tasks", partial(Tasks, first_pause=60.0))
    struck = broken("hfhooks.http.connection:Connection.deadline")
    async with asyncio.timeout(30), serving(in_threads(registry)) as server:
        await server.inspector.get("/metrics")
        struck.set()
        await server.had_a_fault("the inspector")
        struck.clear()


class OpenTunnel:
    """A tunnel that leads here."""

    name, probe_every, must_answer = "open", 60.0, True

    @asynccontextmanager
    async def open(self, local_url: str, tell: Tell) -> AsyncIterator[str]:
        tell(Progress("opening"))
        yield local_url


@proves("the tunnel")
@pytest.mark.parametrize(
    "seams",
    [
        ["hfhooks.serving.announce:Announcement.up"],
        ["hfhooks.serving.announce:Announcement.down", "tests.faults.test_node:OpenTunnel.open"],
    ],
    ids=["up", "down"],
)
async def test_a_tunnel_is_opened_again_beside_what_goes_on(
    registry: Registry, broken: Break, seams: list[str]
) -> None:
    webhook_endpoint("/a")(lambda: "a")
    struck = [broken(seam) for seam in seams]
    for each in struck:
        each.set()
    async with serving(in_threads(registry), OpenTunnel()) as server:
        await server.had_a_fault("the tunnel")
        assert await server.post() == 200
        for each in struck:
            each.clear()
        await until(lambda: server.heard(TunnelUp))
        assert set(server.faults) == {"a fault in the tunnel"}


@proves("publishing")
async def test_a_server_serves_what_it_cannot_publish(registry: Registry, broken: Break) -> None:
    webhook_endpoint("/a")(lambda: "a")
    broken("hfhooks.journal.memory:MemoryJournal.publish").set()
    async with serving(in_threads(registry)) as server:
        await server.had_a_fault("publishing")
        assert await server.post() == 200


@proves("an amendment")
async def test_what_cannot_be_amended_is_told(registry: Registry, broken: Break) -> None:
    @webhook_endpoint("/a")
    async def late(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: 1 / 0)

    broken("hfhooks.journal.memory:MemoryJournal.amend").set()
    async with serving(in_threads(registry)) as server:
        assert await server.post() == 200
        await server.had_a_fault("an amendment")
        assert await server.post() == 200


@pytest.mark.parametrize(
    ("seam", "fault", "status"),
    [
        ("hfhooks.gateway.kept:Kept.add", "answering a request", 500),
        ("hfhooks.gateway.exchange:with_outcome", "what becomes of a delivery", 202),
        ("hfhooks.gateway.exchange:Exchange._answer_kept", "what becomes of a delivery", 500),
    ],
)
async def test_whatever_is_wrong_after_it_is_recorded_its_sender_hears_something(
    server: Running, broken: Break, seam: str, fault: str, status: int
) -> None:
    struck = broken(seam)
    struck.set()
    assert await server.post() == status
    await server.had_a_fault(fault)
    struck.clear()
    assert await server.post() == 200


async def test_an_outcome_that_cannot_be_handed_over_costs_one_delivery(
    server: Running, broken: Break
) -> None:
    struck = broken("hfhooks.journal.memory:MemoryJournal.finish")
    struck.set()
    assert await server.post() == 200
    await server.had_a_fault("recording an outcome")
    struck.clear()
    assert await server.post() == 200


APP = """
import os
from hfhooks import webhook_endpoint

@webhook_endpoint
def a():
    return {{"version": {version}, "pid": os.getpid()}}
"""


class App:
    """A server that calls handlers in a process, and the script that it serves."""

    def __init__(self, server: Running, path: Path) -> None:
        self.server, self._path = server, path

    def save(self, version: int) -> None:
        self._path.write_text(APP.format(version=version))

    async def answer(self) -> dict[str, int]:
        answer = await self.server.http.post("/webhooks/a", json={})
        content: dict[str, int] = answer.json()
        return content

    async def has_version(self, version: int) -> None:
        await until(lambda: len(self.server.heard(Reloaded)) == version)
        assert (await self.answer())["version"] == version


Serve = Callable[..., AbstractAsyncContextManager[App]]


@pytest.fixture
def serve(script: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Serve:
    monkeypatch.setattr(subprocess, "Popen", Forked)

    @asynccontextmanager
    async def serve(
        text: str = APP.format(version=0), wait: float = 5, **options: Any
    ) -> AsyncIterator[App]:
        path = script(text)
        async with serving(in_a_process(path, **options), wait=wait) as server:
            yield App(server, path)
        await until(lambda: "hfhooks-worker" not in {each.name for each in threading.enumerate()})
        await polled()  # and the end of the last one has been heard

    return serve


@proves("retrying")
async def test_a_script_is_reloaded_though_nothing_can_be_retried(
    serve: Serve, broken: Break
) -> None:
    broken("hfhooks.journal.memory:MemoryJournal.requeue").set()
    async with serve() as app:
        app.save(1)
        await app.server.had_a_fault("retrying")
        await app.has_version(1)


@proves("recalling")
async def test_a_script_is_mended_though_nothing_can_be_recalled(
    serve: Serve, broken: Break
) -> None:
    broken("hfhooks.journal.memory:MemoryJournal.endpoints").set()
    async with serve("1 / 0") as app:
        await app.server.had_a_fault("recalling")
        app.save(0)
        await until(lambda: app.server.heard(Ready))
        assert (await app.answer())["version"] == 0


@proves("a spare")
async def test_a_spare_that_nobody_watches_is_used_like_another(
    serve: Serve, broken: Break
) -> None:
    broken("hfhooks.supervisor.child:Worker.ended", within="a spare").set()
    async with serve() as app:
        await app.server.had_a_fault("a spare")
        app.save(1)
        await app.has_version(1)
        assert app.server.heard(Reloaded)[0].seconds < LONGEST_WARM_UP


@proves("the spares")
async def test_spares_are_kept_again_and_do_not_delay_the_next_version(
    serve: Serve, broken: Break
) -> None:
    struck = broken("hfhooks.supervisor.child:Worker.warm_up")
    struck.set()
    async with serve() as app:
        await until(lambda: app.server.faults.count("a fault in the spares") == 2)
        struck.clear()
        app.save(1)
        await app.has_version(1)
        assert app.server.heard(Reloaded)[0].seconds < LONGEST_WARM_UP


@proves("a worker that leaves")
async def test_a_worker_that_cannot_be_told_to_leave_is_ended(serve: Serve, broken: Break) -> None:
    struck = broken("hfhooks.supervisor.child:Worker.stop")
    async with serve() as app:
        before = (await app.answer())["pid"]
        struck.set()
        app.save(1)
        await app.server.had_a_fault("a worker that leaves")
        await app.has_version(1)
        await until(lambda: not psutil.pid_exists(before))
        struck.clear()


@proves("the end of a worker")
async def test_one_that_cannot_be_told_to_end_is_ended(serve: Serve, broken: Break) -> None:
    struck = broken("hfhooks.supervisor.child:Worker.stop")
    async with serve() as app:
        last = (await app.answer())["pid"]
        struck.set()
    assert "a fault in the end of a worker" in app.server.faults
    await until(lambda: not psutil.pid_exists(last))


@proves("the quarantine")
async def test_a_fault_in_quarantine_costs_one_attempt_at_most(serve: Serve, broken: Break) -> None:
    struck = broken("hfhooks.supervisor.child:Worker.load", within="the quarantine", is_once=True)
    async with serve(reload=False) as app:
        struck.set()
        os.kill((await app.answer())["pid"], signal.SIGKILL)
        lost = Recorded("a", 0.0, "", (("content-type", "application/json"),), b"{}")
        [claim] = [(await record(app.server.journal, lost, take=True)).claim]
        assert claim
        await finish(app.server.journal, claim, "queued")
        await app.server.had_a_fault("the quarantine")
        await app.server.post()
        await until_all_have_succeeded(app.server)


@proves("hfhooks-worker")
async def test_a_worker_whose_end_cannot_be_awaited_is_replaced(
    serve: Serve, broken: Break
) -> None:
    wait = "hfhooks.supervisor.spawn:Spawned.wait"
    struck = broken(wait, within="hfhooks-worker", is_once=True)
    async with serve(reload=False) as app:
        before = (await app.answer())["pid"]
        struck.set()
        os.kill(before, signal.SIGKILL)
        await app.server.had_a_fault("waiting for a worker")
        assert (await app.answer())["pid"] != before


async def test_a_fault_in_loading_leaves_the_version_before(serve: Serve, broken: Break) -> None:
    struck = broken("hfhooks.supervisor.child:Worker.load")
    async with serve() as app:
        struck.set()
        app.save(1)
        await until(lambda: app.server.heard(Broken))
        assert (await app.answer())["version"] == 0


async def test_a_fault_in_loading_ends_a_server_that_has_no_worker(
    serve: Serve, broken: Break
) -> None:
    """Or it would accept deliveries that nobody handles."""
    struck = broken("hfhooks.supervisor.child:Worker.load")
    async with serve(reload=False) as app:
        struck.set()
        os.kill((await app.answer())["pid"], signal.SIGKILL)
        await until(app.server.stop.done)
        assert isinstance(app.server.stop.result(), Fault)


async def test_a_frame_of_a_worker_with_a_fault_costs_one_delivery(
    serve: Serve, broken: Break
) -> None:
    struck = broken("hfhooks.supervisor.asked:ending_from")
    async with serve() as app:
        struck.set()
        assert await app.server.post() == 202
        await app.server.had_a_fault("what a worker said")
        struck.clear()
        assert (await app.answer())["version"] == 0
        assert await statuses(app.server) == ["succeeded", "retrying"]


@pytest.mark.parametrize("part", ["Parser.feed", "Outbox.take"])
async def test_a_worker_that_cannot_be_heard_or_told_is_replaced(
    serve: Serve, broken: Break, part: str
) -> None:
    struck = broken(f"hfhooks.worker.frames:{part}")
    async with serve(reload=False, wait=0) as app:
        struck.set()
        assert await app.server.post() == 202
        await app.server.had_a_fault("the frames of a worker")
        struck.clear()
        await until_all_have_succeeded(app.server)


async def statuses(server: Running) -> list[str]:
    """Return what has become of all, the newest first."""
    return [each.status for each in await server.journal.list(Wanted())]


async def until_all_have_succeeded(server: Running) -> None:
    async with asyncio.timeout(30):
        while set(await statuses(server)) != {"succeeded"}:
            await polled()
