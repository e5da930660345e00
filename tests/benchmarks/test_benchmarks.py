"""The benchmark measures what it says, and leaves nothing behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.benchmarks import report
from tests.benchmarks.contenders import BASELINE, BEFORE, NOW
from tests.benchmarks.load import PAYLOAD, ROOT
from tests.benchmarks.measures import Numbers, body_of, commands
from tests.benchmarks.table import Goal, Results, Row
from tests.harness import wait_until

BENCHMARK = [sys.executable, "-m", "tests.benchmarks", "--quick", "--rounds", "1"]
OURS = ["--contenders", NOW, "fdatasync"]
GOAL = Goal("≥", 2)


def benchmark(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [*BENCHMARK, *OURS, "--state-dir", str(folder), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize(
    "name",
    [
        "results, 16",
        "added",
        "two cores",
        pytest.param(
            "with reload", marks=pytest.mark.skipif(sys.platform != "linux", reason="PSS")
        ),
        "commands",
        "requests/s",
        "blocked",
        "unfinished",
        "endpoints",
        "slow",
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


def results(**numbers: list[float]) -> Results:
    turns: dict[str, list[Numbers]] = {
        name: [{"value": value} for value in values] for name, values in numbers.items()
    }
    return Results(Row("results", commands, list(numbers), [GOAL], "/s"), turns)


def test_a_ratio_is_that_of_the_same_turn() -> None:
    measured = results(**{BASELINE: [100.0, 200.0, 50.0], NOW: [300.0, 600.0, 160.0]})

    assert measured.median(NOW, peer=BASELINE) == 3


@pytest.mark.parametrize(("now", "verdict"), [([300.0], "yes"), ([150.0], "no")])
def test_a_goal_is_held_against_the_ratio(now: list[float], verdict: str) -> None:
    measured = results(**{BASELINE: [100.0], BEFORE: [50.0], NOW: now})

    *_, line = report.goals([measured])

    assert line.endswith(f"≥ 2: {verdict}")


def test_who_failed_to_answer_is_named() -> None:
    turns: dict[str, list[Numbers]] = {NOW: [{"value": 1, "failed": 2}], BASELINE: [{"value": 1}]}

    assert Results(results().row, turns).failed == {NOW: 2}


def test_a_large_body_is_a_payload() -> None:
    body = body_of(100_000)

    assert 99_000 < len(body) <= 100_000
    assert json.loads(body)["repo"] == json.loads(PAYLOAD)["repo"]
