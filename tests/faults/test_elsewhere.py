"""Faults under ASGI, in notebooks and tests of one's own, and in parts taken by themselves."""

import asyncio
import io
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hfhooks import WebhooksServer, webhook_endpoint
from hfhooks.cli.keys import Keys
from hfhooks.console.text import Text
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import Fault, TunnelError
from hfhooks.journal import Journal
from hfhooks.model.delivery import Recorded
from hfhooks.model.endpoint import Endpoint
from hfhooks.script.registry import Registry
from hfhooks.serving.notebook import serve_cells
from hfhooks.serving.owner import find_server
from hfhooks.supervisor.watcher import Watcher
from hfhooks.tasks import Tasks
from hfhooks.testing import deliver
from hfhooks.tunnels.programs import opened_by
from tests.faults.elsewhere import answered, living
from tests.faults.inject import Injected
from tests.faults.inventory import proves
from tests.faults.node import Break, breaking, in_threads, serving
from tests.harness import until, wait_until
from tests.wired import Reports

Said = pytest.CaptureFixture[str]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    return breaking(partial(monkeypatch.setattr, raising=False))


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "WAIT", "GRACE"):
        monkeypatch.setenv(f"HFHOOKS_{name}", "0")


@pytest.fixture
def app(registry: Registry) -> WebhooksServer:
    app = WebhooksServer()
    app.add_webhook("/a")(lambda: "a")
    return app


@proves("reading a request")
async def test_under_asgi_a_body_that_cannot_be_read_is_a_500(
    app: WebhooksServer, capsys: Said
) -> None:
    async def receive() -> NoReturn:
        raise Injected("what the server says")

    async with living(app):
        assert await answered(app, "/webhooks/a", receive) == 500
        assert await answered(app, "/webhooks/a") == 202
    assert "a fault in reading a request: Injected" in capsys.readouterr().err


@proves("a handler")
async def test_under_asgi_a_call_with_a_fault_is_told(
    app: WebhooksServer, broken: Break, capsys: Said
) -> None:
    struck = broken("hfhooks.dispatch.attempts:Attempts.end", within="a handler")
    async with living(app):
        struck.set()
        assert await answered(app, "/webhooks/a") == 202
        await until(lambda: "a fault in a handler: Injected" in capsys.readouterr().err)
        struck.clear()
        assert await answered(app, "/webhooks/a") == 202


@proves("dispatching")
async def test_under_asgi_a_fault_of_the_core_lets_nobody_be_accepted(
    app: WebhooksServer, broken: Break, capsys: Said
) -> None:
    broken("hfhooks.journal.sqlite.journal:SqliteJournal.claim").set()
    async with living(app):
        assert await answered(app, "/webhooks/a") == 503
    assert "a fault in dispatching: Injected" in capsys.readouterr().err


@proves("hfhooks-handlers")
async def test_a_fault_in_the_thread_of_the_handlers_ends_the_server(
    registry: Registry,
) -> None:
    @webhook_endpoint("/a")
    async def leave() -> None:
        asyncio.get_running_loop().call_soon(sys.exit)

    async with serving(in_threads(registry), wait=0) as server:
        assert await server.post() == 202
        await until(server.stop.done)
        assert isinstance(server.stop.result(), Fault)
        assert server.faults == ["a fault in calling handlers"]


async def test_a_call_that_cannot_be_answered_in_a_thread_ends_the_server(
    registry: Registry, broken: Break
) -> None:
    webhook_endpoint("/a")(lambda: "a")
    async with serving(in_threads(registry), wait=0) as server:
        broken("hfhooks.model.ending:Ending.__init__", within="hfhooks-handlers").set()
        assert await server.post() == 202
        await server.had_a_fault("calling handlers")


@proves("hfhooks-gateway")
def test_a_notebook_whose_server_has_a_fault_is_told_so(
    registry: Registry, broken: Break, capsys: Said
) -> None:
    webhook_endpoint("/a")(lambda: "a")
    serve_cells(registry)
    notebook: Any = registry.live
    address = find_server().local_url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))):
        broken("hfhooks.http.connection:Connection.deadline").set()
        wait_until(lambda: registry.live is None)
    with pytest.raises(Fault, match="a fault in listening"):
        notebook.stop()
    assert "the server has ended: a fault in listening" in capsys.readouterr().out


def test_a_cell_whose_handlers_cannot_be_taken_up_is_told_so(
    registry: Registry, broken: Break
) -> None:
    webhook_endpoint("/a")(lambda: "a")
    serve_cells(registry)
    notebook: Any = registry.live
    struck = broken("hfhooks.serving.service:Service.use")
    struck.set()
    with pytest.raises(Injected):
        serve_cells(registry)
    notebook.stop()


@proves("testing.py deliver")
def test_a_fault_in_the_thread_of_a_test_is_raised_in_the_test(
    registry: Registry, broken: Break
) -> None:
    handler = webhook_endpoint("/a")(lambda: "a")
    broken("hfhooks.testing:build").set()
    with pytest.raises(Injected):
        deliver(handler, b"{}")


@proves("hfhooks-program")
async def test_a_program_that_cannot_be_read_has_ended(broken: Break) -> None:
    say = "hfhooks.tunnels.programs:_Program._say"
    broken(say, within="hfhooks-program", is_once=True).set()
    with pytest.raises(TunnelError, match=r"sh has ended: error: .*_say"):
        async with opened_by(["sh", "-c", "echo one; read line"], nowhere, lambda _: None):
            raise AssertionError


def nowhere(line: str) -> None:
    """Find no URL."""


@proves("watching files")
async def test_files_are_watched_again_and_what_was_saved_meanwhile_is_seen(
    tasks: Tasks, reports: Reports, broken: Break, script: Callable[..., Path]
) -> None:
    file, changes = script("1"), list[list[Path]]()
    watcher = Watcher(changes.append, tasks)
    struck = broken("watchfiles:awatch")
    struck.set()
    watcher.watch([file])
    await until(lambda: reports.faults)
    file.write_text("2")
    struck.clear()
    await until(lambda: changes)
    watcher.close()
    assert {str(fault).split(": ")[0] for fault in reports.faults} == {"a fault in watching files"}
    reports.faults.clear()


@proves("giving back")
async def test_a_claim_that_cannot_be_given_back_is_told(
    dispatcher: Dispatcher, journal: Journal, reports: Reports, broken: Break
) -> None:
    taken: list[Any] = []
    dispatcher.use(Asked(), [Endpoint("a")])
    turn = dispatcher.expect("a")
    journal.record(Recorded("a", 0.0, "", (), b"{}"), taken.append, turn.takes)
    await until(lambda: taken)
    broken("hfhooks.journal.sqlite.journal:SqliteJournal.release").set()
    dispatcher.lose()
    turn.arrived(taken[0])
    await until(lambda: reports.faults)
    assert str(reports.faults.pop()).startswith("a fault in giving back: Injected")


class Asked:
    """A worker that is lost before it is asked."""

    takes_more = True

    def attempt(self, *given: Any) -> None:
        raise AssertionError

    def give_up(self, id: int) -> None:
        raise AssertionError


@proves("a key")
async def test_a_key_with_a_fault_is_told(tasks: Tasks, reports: Reports) -> None:
    def describe() -> NoReturn:
        raise Injected("what the server is")

    keys = Keys(Text(io.StringIO()), describe, lambda: None, tasks)
    keys.actions["r"]()
    await until(lambda: reports.faults)
    assert str(reports.faults.pop()).startswith("a fault in a key: Injected")
