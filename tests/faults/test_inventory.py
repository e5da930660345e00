"""Every task and every thread has an owner, and a test that puts a fault into it."""

import pytest

from tests.faults.inventory import bare, proven, tasks, threads

KINDS = {
    "core": {"dispatching", "the heartbeat", "listening", "loading", "watching the worker"},
    "helper": {"the inspector", "the spares", "the tunnel", "watching files"},
}
WAITS = "Whoever begins it waits for it there, and so hears of its fault."
BARE = {
    "serving/asgi.py Application _start_unasked": "The first request gets what it raises.",
    "serving/node.py Node _finish": WAITS,
    "serving/node.py Node _start": WAITS,
    "serving/threads.py ThreadWorker _enter": "Who enters a lifespan gets what it raises.",
    "serving/threads.py ThreadWorker start": WAITS,
    "serving/threads.py ThreadWorker update": WAITS,
    "supervisor/child.py Worker stop": WAITS,
    "supervisor/spares.py Spares _add_one": WAITS,
    "supervisor/leaving.py Leaving _see_off": WAITS,
    "supervisor/supervisor.py Supervisor _endpoints_of": WAITS,
    "supervisor/supervisor.py Supervisor isolated": "Where it ends, nobody watches that worker.",
    "supervisor/heartbeat.py how_it_ends": WAITS,
    "testing.py _attempt": WAITS,
    "tunnels/ngrok.py Ngrok open": "Whatever it meets, it tells the keeper.",
    "tunnels/programs.py opened_by": "Whatever it meets, it tells the keeper.",
    "worker/loops.py Loops _start": "`on_fault` hears of it, which ends the worker.",
    "worker/pages.py Pages serve": "The worker's event loop says it, and the socket is closed.",
}
"""Functions that begin tasks without `Tasks`, and who hears of a fault there."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_has_its_kind(kind: str) -> None:
    """What is in neither of these is one of many."""
    assert {name for name, found in tasks().items() if found == kind} == KINDS[kind]


def test_what_has_no_owner_is_here_with_its_reason() -> None:
    assert bare() == BARE.keys()


def test_into_each_task_a_fault_is_put() -> None:
    assert tasks().keys() - proven() == set()


def test_into_each_thread_a_fault_is_put() -> None:
    assert threads() - proven() == set()
