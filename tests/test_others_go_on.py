"""A handler that goes wrong stops only itself, tried on real servers."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import Server, run_command, wait_until

Start = Callable[..., Server]
Script = Callable[..., Path]
RUNS = """
import asyncio, os, pathlib, threading, time
from concurrent.futures import ThreadPoolExecutor
from hfhooks import webhook_endpoint

FOLDER = pathlib.Path(__file__).parent
VERSION = 1

def note(what):
    with open(FOLDER / "log", "a") as log:
        log.write(f"{what}\\n")

def until(name):
    while not (FOLDER / name).exists():
        time.sleep(0.01)
"""


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], list[str]]:
    """Return what handlers have noted."""
    path = tmp_path / "log"
    return lambda: path.read_text().splitlines() if path.exists() else []


def attempts(server: Server, id: int) -> list[str]:
    shown = run_command("deliveries", "show", str(id), "--json", "--port", port_of(server))
    found: dict[str, Any] = json.loads(shown.stdout)
    return [attempt["status"] for attempt in found["attempts"]]


def errors(server: Server, id: int) -> str:
    return str(run_command("deliveries", "show", str(id), "--port", port_of(server)).stdout)


def port_of(server: Server) -> str:
    return str(server.ready["local_url"]).rpartition(":")[2]


def ended(server: Server, number: int) -> dict[str, tuple[str, int]]:
    """Wait for so many deliveries that have ended; return status and attempt by endpoint."""

    def those() -> list[dict[str, Any]]:
        return [each for each in server.deliveries if each["status"] != "retrying"]

    wait_until(lambda: len(those()) >= number, timeout=60)
    return {each["endpoint"]: (each["status"], each["attempt"]) for each in those()}


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("os._exit(7)", "exited with code 7"),
        ("import ctypes; ctypes.string_at(0)", "was ended by signal 11 (SIGSEGV)"),
        ("os.kill(os.getpid(), 9)", "was ended by signal 9 (SIGKILL)"),
    ],
)
def test_who_ran_beside_a_killer_pays_nothing_and_the_killer_is_named(
    start: Start, script: Script, log: Any, death: str, how: str, tmp_path: Path
) -> None:
    text = f"""{RUNS}
@webhook_endpoint
def train(payload: dict):
    note("train")
    until("go-on")

@webhook_endpoint
def kill():
    {death}
"""
    server = start(script(text), "--wait", "0")
    for _ in range(3):
        server.post("train", {})
    wait_until(lambda: log() == ["train"] * 3)
    server.post("kill", {})
    wait_until(lambda: len(log()) > 3)  # the first one again, alone
    (tmp_path / "go-on").touch()
    assert ended(server, 4) == {"train": ("succeeded", 2), "kill": ("failed", 4)}
    assert attempts(server, 1) == ["lost", "succeeded"]
    assert attempts(server, 4) == ["lost", "crashed", "crashed", "crashed"]
    assert f"The worker {how} while this handler ran." in errors(server, 4)


def test_others_wait_for_nobody_in_quarantine(
    start: Start, script: Script, log: Any, tmp_path: Path
) -> None:
    text = f"""{RUNS}
@webhook_endpoint(max_concurrency=2)
def train(payload: dict):
    note("train")
    until("go-on")

@webhook_endpoint
def quick():
    return os.getpid()
"""
    server = start(script(text), "--wait", "1")
    server.post("train", {})
    wait_until(lambda: log() == ["train"])
    [worker] = server.worker_pids
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: log() == ["train"] * 2)
    [quarantine] = set(server.worker_pids) - {server.post("quick", {}).json()}
    assert server.post("quick", {}).json() != quarantine
    (tmp_path / "go-on").touch()
    assert ended(server, 3)["train"] == ("succeeded", 2)
    wait_until(lambda: not psutil.pid_exists(quarantine))


def test_where_a_second_worker_cannot_load_a_suspect_waits_for_the_first(
    start: Start, script: Script, log: Any, tmp_path: Path
) -> None:
    """As where a model fits into the GPU once."""
    text = f"""{RUNS}
import atexit, fcntl
GPU = open(FOLDER / "gpu", "w")
if (FOLDER / "log").exists():
    until("loaded")
fcntl.flock(GPU, fcntl.LOCK_EX | fcntl.LOCK_NB)

@webhook_endpoint
def kill_once(payload: dict):
    note(f"kill_once {{os.getpid()}}")
    if len((FOLDER / "log").read_text().splitlines()) == 1:
        os._exit(9)

@webhook_endpoint
def slow(payload: dict):
    note("slow")
    until("go-on")
"""
    server = start(script(text), "--wait", "0")
    server.post("kill_once", {})
    wait_until(lambda: "starting another" in server.stderr)
    server.post("slow", {})
    (tmp_path / "loaded").touch()
    wait_until(lambda: "no second worker can be had" in server.stderr)
    assert sum(line.startswith("kill_once") for line in log()) == 1
    (tmp_path / "go-on").touch()
    wait_until(lambda: any(each["endpoint"] == "kill_once" for each in server.deliveries))
    assert attempts(server, 1) == ["crashed", "succeeded"]


def test_a_delivery_that_ends_the_server_again_and_again_is_given_up(
    start: Start, script: Script
) -> None:
    text = """
import os, signal
from hfhooks import webhook_endpoint

@webhook_endpoint
def poison():
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()

@webhook_endpoint
def other(payload: dict):
    return "served"
"""
    path = script(text)
    start(path, "--wait", "0").post("poison", {})
    for _ in range(3):
        server = start(path, "--wait", "5")
        assert server.ready  # it serves first, then tries that again
        wait_until(lambda: server.process.poll() is not None, timeout=60)  # noqa: B023 # at once
    last = start(path, "--wait", "5")
    assert last.post("other", {}).json() == "served"
    assert ended(last, 2)["poison"] == ("failed", 4)
    assert attempts(last, 1) == ["lost", "crashed", "crashed", "crashed"]


def test_a_server_that_was_stopped_blames_nobody(start: Start, script: Script, log: Any) -> None:
    """As by `docker stop`, which kills what does not end in time."""
    text = f"""{RUNS}
@webhook_endpoint
def train(payload: dict):
    note("train")
    until("go-on")
"""
    path = script(text)
    for number in range(1, 5):
        server = start(path, "--wait", "0")
        if number == 1:
            server.post("train", {})
        wait_until(lambda: len(log()) == number)  # noqa: B023 # at once
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "may run for" in server.stderr)  # noqa: B023 # at once
        server.process.kill()
        server.process.wait()
    (path.parent / "go-on").touch()
    last = start(path)
    assert ended(last, 1) == {"train": ("succeeded", 5)}
    assert attempts(last, 1) == ["interrupted"] * 4 + ["succeeded"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_handler_that_runs_beyond_its_time_is_tried_again_and_stops_nobody(
    start: Start, script: Script, log: Any, kind: str, tmp_path: Path
) -> None:
    hang = "await asyncio.sleep(99)" if kind == "async def" else "time.sleep(99)"
    text = f"""{RUNS}
from hfhooks import Delivery

@webhook_endpoint(timeout=0.5, retries=1)
{kind} train(payload: dict, delivery: Delivery):
    note(f"train {{delivery.attempt}} {{os.getpid()}}")
    if delivery.attempt == 1:
        {hang}

@webhook_endpoint
def beside(payload: dict):
    note("beside")
    until("go-on")
    return os.getpid()
"""
    server = start(script(text), "--wait", "2")
    beside = server.post("beside", {})
    answer = server.post("train", {})
    assert (answer.status, answer.json()["status"]) == (202, "retrying")
    wait_until(lambda: "longer than its timeout of 0.5 s" in errors(server, answer.json()["id"]))
    run_command("deliveries", "retry", str(answer.json()["id"]), "--port", port_of(server))
    (tmp_path / "go-on").touch()
    assert ended(server, 2) == {"train": ("succeeded", 2), "beside": ("succeeded", 1)}
    assert attempts(server, answer.json()["id"]) == ["timed_out", "succeeded"]
    first, second = (line.split()[2] for line in log() if line.startswith("train"))
    assert (first == second) == (kind == "async def"), "a thread is taken back with its process"
    assert beside.status == 202


def test_a_retry_never_runs_beside_an_attempt_that_goes_on(
    start: Start, script: Script, log: Any, tmp_path: Path
) -> None:
    """The first one has its thread until its worker ends, and that waits for another handler."""
    text = f"""{RUNS}
from hfhooks import Retry

@webhook_endpoint(timeout=0.5, retries=3, max_concurrency=1)
def train(payload: dict):
    note("train begins")
    try:
        until("trained")
    finally:
        note("train ends")

@webhook_endpoint
def beside(payload: dict):
    note("beside")
    until("go-on")
"""
    server = start(script(text), "--wait", "0")
    server.post("beside", {})
    server.post("train", {})
    wait_until(lambda: [each["status"] for each in server.deliveries] == ["retrying"])
    run_command("deliveries", "retry", "2", "--port", port_of(server))
    wait_until(lambda: "can take nothing more" in server.stderr)
    wait_until(lambda: len(server.worker_pids) == 2)
    assert log().count("train begins") == 1
    (tmp_path / "trained").touch()
    (tmp_path / "go-on").touch()
    assert ended(server, 2)["train"] == ("succeeded", 2)
    assert log().count("train begins") == 2


def test_a_save_ends_nothing_that_runs_and_counts_it(
    start: Start, script: Script, log: Any, tmp_path: Path
) -> None:
    text = f"""{RUNS}
@webhook_endpoint(max_concurrency=1)
def train(payload: dict):
    note(f"begins in {{VERSION}}")
    until("go-on")
    note(f"ends in {{VERSION}}")

@webhook_endpoint
def version(payload: dict):
    return VERSION
"""
    server = start(script(text), "--wait", "0.1", "--grace", "0.1", "--reload")
    server.post("train", {})
    wait_until(lambda: log() == ["begins in 1"])
    script(text.replace("VERSION = 1", "VERSION = 2"))
    wait_until(lambda: server.post("version", {}).json() == 2)
    server.post("train", {})
    wait_until(lambda: "1 handler still runs in the version before: train #1" in server.stderr)
    listed = run_command("deliveries", "--port", port_of(server)).stdout
    assert "waits, #1 runs" in listed
    assert log() == ["begins in 1"]
    (tmp_path / "go-on").touch()
    wait_until(lambda: log()[1:] == ["ends in 1", "begins in 2", "ends in 2"])
    assert attempts(server, 1) == ["succeeded"]


LEFT = f"""{RUNS}
POOL = ThreadPoolExecutor(1)

def work(what):
    note(f"{{what}} begins")
    until("go-on")
    note(f"{{what}} ends")

async def awork(what):
    note(f"{{what}} begins")
    while not (FOLDER / "go-on").exists():
        await asyncio.sleep(0.01)
    note(f"{{what}} ends")

@webhook_endpoint
def leave(payload: dict):
    threading.Timer(0.01, work, ["timer"]).start()
    threading.Thread(target=work, args=["thread"], daemon=True).start()
    POOL.submit(work, "pool")
    return VERSION

@webhook_endpoint
async def leave_task(payload: dict):
    global TASK
    TASK = asyncio.create_task(awork("task"))
    asyncio.get_running_loop().run_in_executor(None, work, "executor")
    return VERSION
"""
WHAT = ["executor", "pool", "task", "thread", "timer"]


def left_running(server: Server, log: Any) -> None:
    server.post("leave", {})
    server.post("leave_task", {})
    wait_until(lambda: sorted(log()) == [f"{what} begins" for what in WHAT])


def test_a_save_waits_for_what_handlers_have_left_behind(
    start: Start, script: Script, log: Any, tmp_path: Path
) -> None:
    server = start(script(LEFT), "--grace", "0.1", "--reload")
    left_running(server, log)
    script(LEFT.replace("VERSION = 1", "VERSION = 2"))
    wait_until(lambda: "goes on with what handlers left behind: " in server.stderr)
    assert not any(line.endswith("ends") for line in log())
    (tmp_path / "go-on").touch()
    wait_until(lambda: sorted(log()[5:]) == [f"{what} ends" for what in WHAT])


def test_a_stop_gives_what_handlers_have_left_behind_its_grace(
    start: Start, script: Script, log: Any, tmp_path: Path
) -> None:
    server = start(script(LEFT), "--grace", "30")
    left_running(server, log)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "still running" in server.stderr)
    (tmp_path / "go-on").touch()
    assert server.process.wait(30) == 0
    assert sorted(log()[5:]) == [f"{what} ends" for what in WHAT]


def test_what_a_stop_cuts_off_is_said(start: Start, script: Script, log: Any) -> None:
    server = start(script(LEFT), "--grace", "0.1")
    left_running(server, log)
    assert server.stop() == 0
    [line] = [line for line in server.errors if "cut off" in line]
    assert line.count("app.py:") == len(WHAT)


def test_what_a_library_keeps_running_holds_up_no_save(
    start: Start, script: Script, log: Any
) -> None:
    """Idle threads of pools, and monitors that run for as long as the process does."""
    text = f"""{RUNS}
import queue
POOL = ThreadPoolExecutor(1)

@webhook_endpoint
def leave(payload: dict):
    POOL.submit(note, "pool").result()
    threading.Thread(target=queue.Queue().get, daemon=True).start()
    return os.getpid()
"""
    server = start(script(text), "--reload")
    old = server.post("leave", {}).json()
    script(text.replace("VERSION = 1", "VERSION = 2"))
    wait_until(lambda: not psutil.pid_exists(old))
    assert "left behind" not in server.stderr
