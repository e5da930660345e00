"""Handlers that block the event loop, and those that go on beside them."""

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.script.registry import Registry
from hfhooks.worker.loops import Answered, Loops
from hfhooks.worker.turning import MOST_BLOCKED
from tests.harness import Server, payload_bytes, request, wait_until

PULL = payload_bytes("pr_create_v3_docs")
SCRIPT = """
import asyncio, time
from functools import partial
from pathlib import Path
from hfhooks import Delivery, WebhooksServer, webhook_endpoint

here = Path(__file__).parent

def until(name):
    while not (here / name).exists():
        time.sleep(0.01)

@webhook_endpoint
async def blocks():
    until("go")
    return "unblocked"

@webhook_endpoint
async def blocks_too():
    until("go too")
    return "unblocked too"

@webhook_endpoint
def plain(delivery: Delivery):
    with open(here / "calls.txt", "a") as calls:
        print("plain", delivery.id, file=calls)
    return "plain"

@webhook_endpoint
async def waits(delivery: Delivery):
    await asyncio.sleep(0.1)
    with open(here / "calls.txt", "a") as calls:
        print("waits", delivery.id, file=calls)
    return "waited"

app = WebhooksServer()

@app.fastapi_app.get("/page")
async def page():
    return "page"
"""


def are_done(server: Server, endpoint: str, number: int) -> bool:
    return len(done(server, endpoint)) == number


@pytest.fixture
def server(script: Callable[..., Path], start: Callable[..., Server]) -> Server:
    return start(script(SCRIPT), "--wait", "0.05")


def calls(path: Path) -> list[str]:
    return (path / "calls.txt").read_text().splitlines()


def done(server: Server, *endpoints: str) -> Any:
    """Return what has succeeded for these endpoints."""
    return [
        event
        for event in server.deliveries
        if event["endpoint"] in endpoints and event["status"] == "succeeded"
    ]


def test_deliveries_to_others_are_handled_meanwhile(server: Server, tmp_path: Path) -> None:
    assert server.post("blocks", PULL).status == 202
    for _ in range(5):
        server.post("plain", PULL)
        server.post("waits", PULL)
    wait_until(lambda: len(done(server, "plain", "waits")) == 10)
    assert not done(server, "blocks")
    (tmp_path / "go").touch()
    wait_until(lambda: done(server, "blocks"))
    assert len(set(calls(tmp_path))) == len(calls(tmp_path)) == 10
    assert all(event["attempt"] == 1 for event in server.deliveries)


def test_the_handler_is_named_in_one_line(server: Server, tmp_path: Path) -> None:
    server.post("blocks", PULL)
    wait_until(lambda: "blocks the event loop" in server.stderr)
    (tmp_path / "go").touch()
    wait_until(lambda: done(server, "blocks"))
    lines = [line for line in server.errors if "blocks the event loop" in line]
    [line] = lines
    assert re.fullmatch(
        rf"note: blocks \({tmp_path / 'app.py'}:1[01]\) blocks the event loop; the other "
        "handlers go on beside it. A handler that waits or computes without `await` should be "
        "`def`: it then runs in a thread.\n",
        line,
    )


def test_two_of_them_hold_up_no_third_one(server: Server, tmp_path: Path) -> None:
    server.post("blocks", PULL)
    server.post("blocks_too", PULL)
    for _ in range(5):
        server.post("waits", PULL)
    wait_until(lambda: len(done(server, "waits")) == 5)
    (tmp_path / "go too").touch()
    wait_until(lambda: done(server, "blocks_too"))
    (tmp_path / "go").touch()
    wait_until(lambda: done(server, "blocks"))


def test_it_may_block_again_and_again(server: Server, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        server.post("blocks", PULL)
        server.post("plain", PULL)
        wait_until(partial(are_done, server, "plain", number))
        (tmp_path / "go").touch()
        wait_until(partial(are_done, server, "blocks", number))
        (tmp_path / "go").unlink()
    assert len(set(calls(tmp_path))) == len(calls(tmp_path)) == 3


def test_a_burst_while_it_blocks_is_handled_once_each(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        server.post("blocks", PULL)
        waiting = [pool.submit(server.post, "waits", PULL) for _ in range(100)]
        assert {each.result().status for each in waiting} <= {200, 202}
    wait_until(lambda: len(done(server, "waits")) == 100, timeout=30)
    (tmp_path / "go").touch()
    wait_until(lambda: done(server, "blocks"))
    assert len(set(calls(tmp_path))) == len(calls(tmp_path)) == 100


def test_a_burst_to_what_blocks_holds_up_no_other(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(12) as pool:
        blocking = [pool.submit(server.post, "blocks", PULL) for _ in range(12)]
        assert {each.result().status for each in blocking} == {202}
    wait_until(lambda: "blocks the event loop" in server.stderr)
    for number in (1, 2, 3):
        server.post("waits", PULL)
        wait_until(partial(are_done, server, "waits", number), timeout=4)
    (tmp_path / "go").touch()
    wait_until(partial(are_done, server, "blocks", 12))
    assert all(event["attempt"] == 1 for event in server.deliveries)


def test_what_the_loop_had_begun_ends_when_it_goes_on(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(server.post, "waits", PULL)
        pool.submit(server.post, "blocks", PULL)
    wait_until(lambda: "blocks the event loop" in server.stderr)
    (tmp_path / "go").touch()
    wait_until(lambda: len(done(server, "waits", "blocks")) == 9)
    assert len(set(calls(tmp_path))) == len(calls(tmp_path)) == 8


def test_own_routes_are_answered_meanwhile(server: Server, tmp_path: Path) -> None:
    server.post("blocks", PULL)
    wait_until(lambda: "blocks the event loop" in server.stderr)
    assert request("GET", server.ready["local_url"] + "/page").json() == "page"
    (tmp_path / "go").touch()


def test_a_stop_gives_what_blocks_its_grace(server: Server, tmp_path: Path) -> None:
    server.post("blocks", PULL)
    server.post("plain", PULL)
    wait_until(lambda: done(server, "plain"))
    (tmp_path / "go").touch()
    assert server.stop() == 0
    assert done(server, "blocks")


def test_a_blocked_worker_is_replaced_by_a_reload(
    script: Callable[..., Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    path = script(SCRIPT)
    server = start(path, "--wait", "0.05", "--reload", "--grace", "1")
    server.post("blocks", PULL)
    wait_until(lambda: "blocks the event loop" in server.stderr)
    path.write_text(SCRIPT.replace('"plain"', '"newer"'))
    wait_until(lambda: any(event["type"] == "reload" for event in server.events))
    (tmp_path / "go").touch()
    assert server.post("plain", PULL).status in (200, 202)
    wait_until(lambda: (tmp_path / "calls.txt").exists() and "newer" in "".join(calls(tmp_path)))


def test_what_is_blocked_outside_of_a_handler_is_named_by_its_place(
    script: Callable[..., Path], start: Callable[..., Server]
) -> None:
    text = """
import asyncio, time
from hfhooks import webhook_endpoint

async def train():
    time.sleep(1.5)

@webhook_endpoint
async def starts():
    global training
    training = asyncio.create_task(train())
    return "started"

@webhook_endpoint
def plain(): ...
"""
    path = script(text)
    server = start(path)
    assert server.post("starts", PULL).json() == "started"
    assert server.post("plain", PULL).status == 200
    wait_until(lambda: f"note: {path}:6 blocks the event loop" in server.stderr)


def test_what_a_handler_has_begun_on_another_loop_goes_on(
    script: Callable[..., Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    text = (
        SCRIPT
        + """
async def later():
    await asyncio.sleep(1)
    (here / "later").touch()

@webhook_endpoint
async def begins():
    global task
    task = asyncio.create_task(later())
"""
    )
    server = start(script(text), "--wait", "0.05")
    server.post("blocks", PULL)
    wait_until(lambda: "blocks the event loop" in server.stderr)
    server.post("begins", PULL)
    wait_until(lambda: done(server, "begins"))
    (tmp_path / "go").touch()
    wait_until(lambda: done(server, "blocks"))
    wait_until((tmp_path / "later").exists)


def test_a_page_asked_for_as_the_loop_is_blocked_waits_for_it(
    server: Server, tmp_path: Path
) -> None:
    server.post("blocks", PULL)
    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(request, "GET", server.ready["local_url"] + "/page")
        wait_until(lambda: "blocks the event loop" in server.stderr)
        (tmp_path / "go").touch()
        assert page.result().json() == "page"


def test_a_reload_while_it_is_blocked_leaves_no_traceback(
    script: Callable[..., Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    path = script(SCRIPT)
    server = start(path, "--wait", "0.05", "--reload")
    for number in range(3):
        server.post("blocks", PULL)
        path.write_text(f"{SCRIPT}\n# {number}")
        wait_until(lambda: sum(e["type"] == "reload" for e in server.events) > number)  # noqa: B023
        (tmp_path / "go").touch()
        wait_until(partial(are_done, server, "blocks", number + 1))
        (tmp_path / "go").unlink()
    assert "Traceback" not in server.stderr


def test_a_loop_that_only_waits_is_not_blocked(server: Server) -> None:
    server.post("waits", PULL)
    wait_until(lambda: done(server, "waits"))
    assert "blocks the event loop" not in server.stderr


class Rig:
    """Loops in a thread of their own; a handler blocks until it is let go, one of `free` never."""

    def __init__(self, **limits: Any) -> None:
        self.begun: list[int] = []
        self.said: list[tuple[str, bool]] = []
        self.looks = 0
        self._go: dict[int, Event] = {}
        self._ids = count(1)
        self.loops = Loops(
            self._call,
            Registry(is_served=True),
            prepare=lambda: None,
            on_blocked=lambda *said: self.said.append(said),
            on_fault=lambda error: self.said.append((repr(error), True)),
            on_look=self._looked,
            longest_hold=0.0,
            **limits,
        )
        self._thread = Thread(target=lambda: asyncio.run(self.loops.serve(print)))
        self._thread.start()
        self.pass_by(1)

    def take(self, endpoint: str) -> int:
        id = next(self._ids)
        self._go[id] = Event()
        claim = Claim(id, Recorded(endpoint, 0.0, "", (), b""), 1, "")
        self.loops.take(claim, None, lambda ending: None)
        return id

    def let_go(self, *ids: int) -> None:
        for id in ids or list(self._go):
            self._go[id].set()

    def begins(self, id: int) -> None:
        wait_until(lambda: id in self.begun)

    def pass_by(self, looks: int) -> None:
        """Wait until so many more looks were had at the loops."""
        enough = self.looks + looks
        wait_until(lambda: self.looks >= enough, timeout=30)

    def end(self) -> None:
        self.let_go()
        self.loops.stop()
        self._thread.join()

    async def _call(self, claim: Claim, secret: str | None, answered: Answered) -> None:
        self.begun.append(claim.id)
        if claim.delivery.endpoint != "free":
            self._go[claim.id].wait()
        answered(Ending("answered", 200))

    def _looked(self) -> None:
        self.looks += 1


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def begin(**limits: Any) -> Rig:
        rigs.append(Rig(**limits))
        return rigs[-1]

    yield begin
    for each in rigs:
        each.end()


def test_an_endpoint_blocks_a_few_loops_and_no_more(rig: Callable[..., Rig]) -> None:
    one = rig()
    blocking = [one.take("a") for _ in range(MOST_BLOCKED + 3)]
    wait_until(lambda: len(one.begun) == MOST_BLOCKED, timeout=20)
    one.pass_by(20)
    for _ in range(3):
        one.begins(one.take("free"))
    blocking.append(one.take("a"))
    one.pass_by(10)
    assert sum(id in blocking for id in one.begun) == MOST_BLOCKED
    assert not any(is_worn_out for _, is_worn_out in one.said)


def test_what_waits_for_its_endpoints_loops_begins_when_one_goes_on(
    rig: Callable[..., Rig],
) -> None:
    one = rig()
    blocking = [one.take("a") for _ in range(MOST_BLOCKED + 2)]
    wait_until(lambda: len(one.begun) == MOST_BLOCKED, timeout=20)
    one.pass_by(10)
    for number in (1, 2):
        one.let_go(one.begun[number])
        wait_until(lambda: len(one.begun) == MOST_BLOCKED + number, timeout=20)  # noqa: B023
    assert sorted(one.begun) == blocking


def test_loops_that_are_blocked_count_also_when_the_first_goes_on(rig: Callable[..., Rig]) -> None:
    one = rig()
    first = one.take("first")
    one.begins(first)
    one.pass_by(10)
    for _ in range(MOST_BLOCKED):
        one.begins(one.take("a"))
        one.pass_by(10)
    one.let_go(first)
    one.begins(one.take("free"))
    held = one.take("a")
    one.pass_by(10)
    assert held not in one.begun
    one.begins(one.take("free"))


def test_when_no_more_can_be_had_that_is_said_once(rig: Callable[..., Rig]) -> None:
    one = rig(most_loops=3)
    blocking = [one.take(name) for name in ("a", "b", "c")]
    wait_until(lambda: sorted(one.begun) == blocking)
    wait_until(lambda: any(is_worn_out for _, is_worn_out in one.said))
    waits = one.take("free")
    one.pass_by(10)
    assert waits not in one.begun
    [said] = [why for why, is_worn_out in one.said if is_worn_out]
    assert said == (
        "all event loops are blocked by a, b, c, and no more of them can be had: until one goes "
        "on, no handler begins in this worker."
    )
    one.let_go(blocking[0])
    one.begins(waits)


def test_a_worker_that_can_have_no_more_says_so(
    script: Callable[..., Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    text = """
import os, resource, time
from pathlib import Path
from hfhooks import webhook_endpoint

@webhook_endpoint
async def blocks():
    used = len(os.listdir("/proc/self/fd"))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, most))
    while not (Path(__file__).parent / "go").exists():
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
"""
    server = start(script(text), "--wait", "0.05")
    server.post("blocks", PULL)
    wait_until(lambda: "note: all event loops are blocked by blocks" in server.stderr)
    assert "(Too many open files)" in server.stderr or "[Errno 24]" in server.stderr
    (tmp_path / "go").touch()
    wait_until(lambda: done(server, "blocks"))


def test_background_tasks_that_block_are_their_endpoints(
    script: Callable[..., Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    text = (
        SCRIPT
        + """
from fastapi import BackgroundTasks

async def train():
    until("go")

@webhook_endpoint
async def trains(tasks: BackgroundTasks):
    tasks.add_task(train)
    return "started"
"""
    )
    server = start(script(text))
    assert server.post("trains", PULL).json() == "started"  # before the loop is blocked
    wait_until(lambda: re.search(r"note: trains \(.*\) blocks the event loop", server.stderr))
    server.post("plain", PULL)
    wait_until(lambda: done(server, "plain"))
    (tmp_path / "go").touch()
