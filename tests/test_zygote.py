"""What is forked is as what is started."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import COMMAND, Server, open_terminal, payload_bytes, run_command, wait_until
from tests.zygote import CAN_FORK

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="Linux alone can do it")
Script = Callable[..., Path]
Start = Callable[..., Server]
PULL = payload_bytes("pr_create_v3_docs")
FACTS = """
import os, signal, sys, threading, time
from hfhooks import webhook_endpoint

@webhook_endpoint
def facts():
    main = sys.modules["__main__"]
    return {
        "main": [main.__name__, main.__spec__.name, main.__file__],
        "arguments": sys.argv,
        "path": sys.path,
        "of tests": [
            name
            for name, module in sys.modules.items()
            if "/tests/" in (getattr(module, "__file__", None) or "")
        ],
        "folder": os.getcwd(),
        "environment": ascii({**os.environ, "_HFHOOKS_WORKER": "of each another"}),
        "time zone": time.tzname,
        "streams": [
            [stream.name, stream.mode, stream.encoding, stream.errors]
            + [stream.line_buffering, stream.write_through, str(type(stream.buffer))]
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "handlers": [callable(signal.getsignal(each)) for each in signal.valid_signals()],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "name": open("/proc/self/comm").read(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }
"""
SEEN = ("Name", "Umask", "TracerPid", "SigQ", "SigBlk", "SigIgn", "SigCgt", "Threads")


def seen(pid: int) -> dict[str, Any]:
    """Return what others see of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return {name: status[name] for name in SEEN} | {
        "folder": str(Path(f"/proc/{pid}/cwd").readlink()),
        "parent": os.getpid() == psutil.Process(pid).ppid(),
        "session": os.getsid(pid) == os.getsid(0),
        "group": os.getpgid(pid) == os.getpgid(0),
    }


def is_forked(pid: int) -> bool:
    return "tests.zygote" in psutil.Process(pid).cmdline()


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def both(start: Start, script: Script, tmp_path: Path) -> list[Server]:
    """A server that is started and one that is forked, with workers of their kind."""
    path = script(FACTS)
    env = {"TZ": "Asia/Tokyo", "ODD": "\u00e9\udcff"}
    servers = []
    for name, command in (("started", COMMAND), ("forked", None)):
        state = ("--state-dir", tmp_path / name)
        servers.append(start(path, *state, cwd=tmp_path, env=env, command=command))
        assert servers[-1].ready
        pids = (servers[-1].process.pid, *servers[-1].worker_pids)
        assert [is_forked(pid) for pid in pids] == [command is None] * 2
    return servers


def test_a_worker_cannot_tell_whether_it_is_forked(both: list[Server]) -> None:
    started, forked = (server.post("facts", PULL).json() for server in both)
    assert started == forked
    assert forked["time zone"] == ["JST", "JST"] and forked["of tests"] == []


def test_others_cannot_tell_whether_a_server_is_forked(both: list[Server]) -> None:
    started, forked = (seen(server.process.pid) for server in both)
    assert started == forked
    assert [server.stop(signal.SIGINT) for server in both] == [130, 130]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_its_zygote_ends_with_a_server(start: Start, script: Script, number: int) -> None:
    server = start(script(FACTS))
    assert server.ready
    children = psutil.Process(server.process.pid).children()
    assert len(children) == 2
    server.stop(number)
    wait_until(lambda: all(map(has_ended, children)))


def test_where_python_must_start_otherwise_it_is_started(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(FACTS), env={"PYTHONUTF8": "1"})
    assert server.ready and not is_forked(server.process.pid)
    with pytest.raises(FileNotFoundError):
        run_command("--version", cwd=tmp_path / "nowhere")


def test_a_terminal_is_its_own(tmp_path: Path) -> None:
    process, terminal = open_terminal([*COMMAND, "trigger", "--list"], tmp_path, os.environ)
    assert is_forked(process.pid)
    assert os.tcgetpgrp(terminal) == os.getsid(process.pid) == process.pid
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    os.close(terminal)
