"""Faults in a worker process: of one attempt, of a helper, or of all that it is there for."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.inventory import proves
from tests.faults.worker import script_that_breaks
from tests.harness import Server, request, wait_until

ENDS = "a fault in the worker, which ends:"


class Worker:
    """A server whose worker breaks, and only that."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self._folder = server, folder
        self.pids = server.ready and server.worker_pids

    def strike(self) -> None:
        (self._folder / "strike").touch()

    def heal(self) -> None:
        (self._folder / "strike").unlink()

    def let_go(self) -> None:
        """End what blocks the event loop."""
        (self._folder / "go").touch()

    def begin(self, endpoint: str) -> None:
        """Send something whose answer is of no interest."""
        send = self.server.post
        threading.Thread(target=send, args=(endpoint, {}), daemon=True).start()

    def post(self, endpoint: str = "quick") -> tuple[int, str]:
        """Send something; return the status of the answer, and of the delivery if it is said."""
        answer = self.server.post(endpoint, {})
        content = answer.json() or {}
        return answer.status, content.get("status", "")

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.server.stderr)

    def succeeds(self, endpoint: str, number: int = 1) -> None:
        wait_until(
            lambda: (
                sum(
                    event["endpoint"] == endpoint and event["status"] == "succeeded"
                    for event in self.server.deliveries
                )
                == number
            )
        )

    @property
    def is_replaced(self) -> bool:
        return self.server.worker_pids != self.pids


Breaks = Callable[..., Worker]


@pytest.fixture
def breaks(script: Callable[..., Path], start: Callable[..., Server]) -> Breaks:
    def breaks(*where: str) -> Worker:
        path = script(script_that_breaks(*where))
        return Worker(start(path, "--wait", "0.5", "--grace", "0"), path.parent)

    return breaks


@pytest.mark.parametrize(
    "seam, endpoint",
    [
        ("hfhooks.worker.served:attempt_from", "quick"),
        ("hfhooks.worker.loops:Loops.take", "quick"),
        ("hfhooks.worker.calls:scope_of", "through_the_app"),
    ],
)
def test_a_fault_about_one_attempt_fails_that_one(breaks: Breaks, seam: str, endpoint: str) -> None:
    worker = breaks(seam)
    worker.strike()
    assert worker.post(endpoint) == (202, "retrying")
    worker.says("a fault in calling a handler: Injected")
    worker.heal()
    assert worker.post(endpoint)[0] == 200
    assert not worker.is_replaced


@pytest.mark.parametrize(
    "seam",
    [
        "hfhooks.worker.served:of_ending",
        "hfhooks.worker.control:Control.send",
        "hfhooks.worker.frames:Parser.feed",
    ],
)
def test_a_worker_that_cannot_hear_or_say_anything_is_replaced(breaks: Breaks, seam: str) -> None:
    worker = breaks(seam)
    worker.strike()
    assert worker.post() in ((202, "queued"), (500, "failed"))  # it may die three times by then
    worker.says(ENDS)
    worker.says("the worker exited with code 1 while quick #1 ran; starting another.")
    worker.heal()
    worker.succeeds("quick")
    assert worker.is_replaced


def test_a_page_with_a_fault_is_unavailable(breaks: Breaks) -> None:
    worker = breaks("hfhooks.worker.pages:Pages.serve")
    page = f"{worker.server.ready['local_url']}/page"
    worker.strike()
    assert request("GET", page).status == 503
    worker.says("a fault in serving a page:")
    worker.heal()
    assert request("GET", page).status == 200
    assert not worker.is_replaced


@proves("hfhooks-watch")
def test_event_loops_are_watched_again(breaks: Breaks) -> None:
    worker = breaks("hfhooks.worker.turning:TurningLoop.is_blocked", "hfhooks-watch")
    worker.strike()
    worker.says("a fault in watching the event loops:")
    assert worker.post()[0] == 200
    worker.heal()
    worker.begin("blocks")
    worker.says("blocks the event loop")
    worker.begin("quick")
    worker.succeeds("quick", 2)
    worker.let_go()


@proves("hfhooks-loop")
def test_a_loop_that_cannot_begin_leaves_all_to_the_first_one(breaks: Breaks) -> None:
    worker = breaks("hfhooks.worker.control:Control.attach", "hfhooks-loop")
    worker.strike()
    worker.begin("blocks")
    worker.says("Injected: hfhooks.worker.control:Control.attach")
    worker.let_go()
    worker.succeeds("blocks")
    assert worker.post()[0] == 200
    assert not worker.is_replaced


@proves("hfhooks-loop")
def test_a_loop_that_ends_ends_the_worker_with_all_that_it_had_begun(breaks: Breaks) -> None:
    worker = breaks("hfhooks.worker.control:Control.attach")
    worker.begin("blocks")
    worker.says("blocks the event loop")
    worker.begin("leaves")
    worker.says(ENDS)
    worker.let_go()
    worker.succeeds("blocks")
    assert worker.is_replaced


FOLLOWS = """
import sys, threading
from hfhooks.worker.control import Control
from tests.faults.inject import break_at

break_at("select:poll", lambda: True)
Control(int(sys.argv[1]))
threading.Event().wait(60)
"""


@proves("hfhooks-parent")
def test_a_worker_that_cannot_follow_its_gateway_ends() -> None:
    ours, its = socket.socketpair()
    with ours, its:
        command = [sys.executable, "-c", FOLLOWS, str(its.fileno())]
        ended = subprocess.run(command, pass_fds=[its.fileno()], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ENDS in ended.stderr and "Injected: select:poll" in ended.stderr
