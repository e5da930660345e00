"""What is left to be done after an answer: whether there is something, and room for it."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from hfhooks import WebhooksServer, webhook_endpoint
from hfhooks.journal import open_reading, url_of
from hfhooks.model.delivery import Wanted
from hfhooks.model.ending import CRASHED, CUT_OFF, INTERRUPTED, LOST, Ending
from hfhooks.script.registry import Registry, collecting
from hfhooks.worker.after import TURNS, Held, Room
from hfhooks.worker.app import build
from tests.harness import Server, polled, request, until, wait_until
from tests.worker.calling import PULL, called

GOOD = Ending("answered", 200)


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with collecting(Registry(is_served=True)) as registry:
        yield registry


class Response:
    """What has background tasks, which run until they are let go."""

    def __init__(self) -> None:
        self.background: Callable[[], Any] | None = self._run
        self.go = asyncio.Event()
        self.has_begun = False

    async def _run(self) -> None:
        self.has_begun = True
        await self.go.wait()


@asynccontextmanager
async def running(responses: list[Response], room: Room) -> AsyncIterator[list[Any]]:
    """Have the background tasks of these run, one after the other begun."""
    for each in responses:
        room.bound(each)
    tasks = [asyncio.ensure_future(each.background()) for each in responses if each.background]
    yield tasks
    for each in responses:
        each.go.set()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


async def test_an_answer_whose_call_ends_with_it_leaves_nothing() -> None:
    endings: list[Ending] = []
    held = Held(endings.append)
    held(GOOD)
    held.let_go(pending_after=False)
    await polled()
    assert [each.pending_after for each in endings] == [False] and not held.pending_after


async def test_an_answer_whose_call_goes_on_leaves_something() -> None:
    endings: list[Ending] = []
    held = Held(endings.append)
    held(Ending("answered", 201))
    held(GOOD)  # the first one counts
    await until(lambda: endings)
    held.let_go(pending_after=False)
    assert [(each.status, each.pending_after) for each in endings] == [(201, True)]


async def test_an_answer_that_cannot_be_told_is_a_fault_of_ours() -> None:
    endings: list[Ending] = []

    def answered(ending: Ending) -> None:
        endings.append(ending)
        if len(endings) == 1:
            raise ValueError("not to be written")

    Held(answered).at_once(GOOD)
    assert [each.kind for each in endings] == ["answered", "raised"]
    assert b"not to be written" in endings[1].body


async def test_so_many_run_at_once_and_the_first_to_wait_is_next() -> None:
    responses = [Response() for _ in range(4)]
    async with running(responses, Room(2)):
        await polled()
        assert [each.has_begun for each in responses] == [True, True, False, False]
        responses[1].go.set()
        await until(lambda: responses[2].has_begun)
        assert not responses[3].has_begun


async def test_one_that_is_given_up_while_it_waits_takes_no_place() -> None:
    responses = [Response() for _ in range(3)]
    async with running(responses, Room(1)) as tasks:
        await polled()
        tasks[1].cancel()
        responses[0].go.set()
        await until(lambda: responses[2].has_begun)
        assert not responses[1].has_begun


async def test_a_place_goes_to_whoever_waits_on_another_loop() -> None:
    room, response, other = Room(1), Response(), threading.Event()

    async def elsewhere() -> None:
        async def run() -> None:
            other.set()

        await room.run(run)

    async with running([response], room):
        await until(lambda: response.has_begun)
        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        await polled()
        assert not other.is_set()
        response.go.set()
        await until(other.is_set)
        thread.join()


async def test_a_loop_that_is_gone_keeps_no_place() -> None:
    room, first, last = Room(1), Response(), Response()
    async with running([first], room):
        await until(lambda: first.has_begun)
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(room.run(Response()._run))
        loop.call_later(0, loop.call_later, 0, loop.stop)
        await asyncio.to_thread(loop.run_forever)
        loop.close()
        first.go.set()
        async with running([last], room):
            await until(lambda: last.has_begun)
    waiting.get_coro()


@pytest.mark.parametrize("uses_direct", [True, False])
@pytest.mark.parametrize(
    ("answer", "is_left"),
    [
        (lambda: {"a": 1}, False),
        (lambda: {1, 2}, False),
        (lambda: JSONResponse(1), False),
        (lambda: JSONResponse(1, background=BackgroundTask(int, "1")), True),
        (lambda: JSONResponse(1, background=BackgroundTasks()), False),
        (lambda: JSONResponse(1, 404, background=BackgroundTask(int, "1")), True),
        (lambda: 1 / 0, False),
    ],
)
async def test_an_answer_says_whether_something_is_left(
    registry: Registry, uses_direct: bool, answer: Callable[[], Any], is_left: bool
) -> None:
    @webhook_endpoint("/h")
    async def handler(payload: dict[str, Any]) -> Any:
        return answer()

    app, _ = build(registry)
    result = await called(app, "h", b"{}", uses_direct=uses_direct)
    assert result.ending.pending_after is is_left
    assert result.done == [1] * is_left and not result.late


@pytest.mark.parametrize(("given", "is_left"), [([], False), ([int], True)])
async def test_what_a_handler_adds_is_left_if_there_is_something(
    registry: Registry, given: list[Any], is_left: bool
) -> None:
    @webhook_endpoint("/h")
    def handler(tasks: BackgroundTasks) -> None:
        for each in given:
            tasks.add_task(each)

    app, _ = build(registry)
    assert (await called(app, "h", b"{}")).ending.pending_after is is_left


async def test_what_a_dependency_does_after_the_answer_is_left(registry: Registry) -> None:
    async def dependency() -> AsyncIterator[int]:
        yield 1
        for _ in range(2 * TURNS):
            await asyncio.sleep(0)

    @webhook_endpoint("/h")
    async def handler(request: Request, one: int = Depends(dependency)) -> int:
        return one

    app, _ = build(registry)
    result = await called(app, "h", b"{}")
    assert result.ending.pending_after and result.done == [1]


@pytest.mark.parametrize("uses_direct", [True, False])
async def test_middleware_and_streams_leave_nothing(registry: Registry, uses_direct: bool) -> None:
    server = WebhooksServer()

    @server.fastapi_app.middleware("http")
    async def passes(request: Request, call_next: Callable[..., Any]) -> Any:
        return await call_next(request)

    @webhook_endpoint("/plain")
    def plain(payload: dict[str, Any]) -> dict[str, int]:
        return {"a": 1}

    @webhook_endpoint("/streams")
    def streams(payload: dict[str, Any]) -> Any:
        return StreamingResponse(iter("1"))

    app, _ = build(registry)
    for name in ("plain", "streams"):
        assert not (await called(app, name, b"{}", uses_direct=uses_direct)).ending.pending_after


SCRIPT = """
import os, time
from pathlib import Path
from fastapi import BackgroundTasks
from hfhooks import Delivery, WebhooksServer, webhook_endpoint

here = Path(__file__).parent

def train(id):
    (here / f"began {id}").write_text(str(os.getpid()))
    while not (here / "go").exists():
        time.sleep(0.01)

@webhook_endpoint(max_concurrency=3)
def trains(delivery: Delivery, tasks: BackgroundTasks):
    tasks.add_task(train, delivery.id)
    return "started"

@webhook_endpoint
def plain():
    return "plain"

app = WebhooksServer()

@app.fastapi_app.get("/page")
def page():
    return "page"
"""
Script = Callable[..., Path]
Start = Callable[..., Server]


def failed(server: Server) -> list[int]:
    return [event["id"] for event in server.deliveries if event["status"] == "failed"]


def pending(folder: Path) -> list[int]:
    """Return the deliveries whose background tasks run, as the journal has it."""

    async def read() -> list[int]:
        [path] = (folder / "state").rglob("journal.db")
        reading = open_reading(url_of(path))
        found = await reading.list(Wanted(pending_after=True))
        await reading.close()
        return [each.id for each in found]

    return asyncio.run(read())


def begun(folder: Path) -> int:
    return sum(bool(each.read_text()) for each in folder.glob("began *"))


@pytest.mark.parametrize("end", ["worker", "stop", "server"])
def test_what_is_cut_off_has_failed_for_that_reason(
    start: Start, script: Script, tmp_path: Path, end: str
) -> None:
    path = script(SCRIPT)
    options = ("--reload", "--grace", "0.2", "--state-dir", tmp_path / "state")
    server = start(path, *options)
    assert server.post("trains", PULL).json() == "started"
    assert server.post("plain", PULL).json() == "plain"
    wait_until(lambda: pending(tmp_path) == [1] and begun(tmp_path) == 1)
    why = CUT_OFF[INTERRUPTED]
    if end == "worker":
        os.kill(int((tmp_path / "began 1").read_text()), signal.SIGKILL)
        why = CUT_OFF[CRASHED]
    elif end == "save":
        path.write_text(f"{SCRIPT}\n# saved\n")
    elif end == "stop":
        server.stop()
    else:
        server.process.kill()
        server.process.wait()
        server, why = start(path, *options), CUT_OFF[LOST]
    wait_until(lambda: failed(server) == [1])
    wait_until(lambda: why in server.stderr)
    wait_until(lambda: pending(tmp_path) == [])


def test_what_is_done_in_time_is_pending_no_more(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(SCRIPT), "--state-dir", tmp_path / "state")
    server.post("trains", PULL)
    wait_until(lambda: pending(tmp_path) == [1])
    (tmp_path / "go").touch()
    wait_until(lambda: pending(tmp_path) == [])
    assert server.stop() == 0 and failed(server) == []


def test_background_tasks_that_wait_delay_nobody_else(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(SCRIPT), "--state-dir", tmp_path / "state")
    assert {server.post("trains", PULL).status for _ in range(50)} == {200}
    wait_until(lambda: begun(tmp_path) == 3)
    assert server.post("trains", PULL).json() == "started"
    assert server.post("plain", PULL).json() == "plain"
    assert request("GET", server.ready["local_url"] + "/page").json() == "page"
    assert begun(tmp_path) == 3
    (tmp_path / "go").touch()
    wait_until(lambda: begun(tmp_path) == 51)
    wait_until(lambda: pending(tmp_path) == [])
