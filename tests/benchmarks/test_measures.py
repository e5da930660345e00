"""The benchmark measures what it says, and leaves nothing behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.benchmarks.contenders import NOW
from tests.benchmarks.load import PAYLOAD, ROOT
from tests.benchmarks.measures import body_of
from tests.harness import wait_until

BENCHMARK = [sys.executable, "-m", "tests.benchmarks", "--quick", "--rounds", "1"]
OURS = ["--contenders", NOW, "fdatasync"]


def benchmark(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [*BENCHMARK, *OURS, "--state-dir", str(folder), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize(
    "name",
    [
        "results, 16",
        pytest.param(
            "with reload", marks=pytest.mark.skipif(sys.platform != "linux", reason="PSS")
        ),
        "requests/s",
        "blocked",
        "stored",
    ],
)
@pytest.mark.usefixtures("unmeasured")
def test_each_measure_gives_numbers_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "numbers.json"
    state.mkdir()

    process = benchmark(state, "--only", name, "--json", str(file))
    out, err = process.communicate()

    assert process.returncode == 0, err
    (row,) = json.loads(file.read_text())["rows"]
    assert row["name"] in out
    assert all(number >= 0 for turns in row["contenders"].values() for number in turns[0].values())
    assert not list(state.iterdir())


@pytest.mark.usefixtures("unmeasured")
def test_ctrl_c_ends_the_servers_and_removes_their_folders(tmp_path: Path) -> None:
    process = benchmark(tmp_path, "--only", "results, 16")
    servers = wait_until(lambda: psutil.Process(process.pid).children(recursive=True), timeout=60)

    process.send_signal(signal.SIGINT)
    process.communicate()

    assert process.returncode == 130
    assert not [server for server in servers if server.is_running()]
    assert not list(tmp_path.iterdir())


def test_a_large_body_is_a_payload() -> None:
    body = body_of(100_000)

    assert 99_000 < len(body) <= 100_000
    assert json.loads(body)["repo"] == json.loads(PAYLOAD)["repo"]
