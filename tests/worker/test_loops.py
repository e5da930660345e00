"""Handlers that block the event loop, and those that go on beside them."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

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
