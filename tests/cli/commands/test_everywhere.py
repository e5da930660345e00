"""Every command, wherever it runs: at a terminal, in a pipe, for programs, without a server."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import COMMAND, Server, at_terminal, payload_bytes, run_command, wait_until

PULL = payload_bytes("pr_create_v3_docs")
TEXT = """
from hfhooks import Discard, webhook_endpoint

@webhook_endpoint(on="discussion")
def talk(payload): return {"repo": payload.repo.name}

@webhook_endpoint(on="repo")
def push(payload): raise Discard("no")
"""
COLOUR = re.compile(r"\x1b\[[\d;]*m")
COLOURED = {
    "init": ["init", "{new}.py"],
    "trigger": ["trigger", "discussion:create"],
    "trigger --save": ["trigger", "repo:create", "--save", "{new}.json"],
    "replay": ["replay", "1"],
    "replay --dry-run": ["replay", "1", "--dry-run"],
    "deliveries": ["deliveries"],
    "deliveries show": ["deliveries", "show", "1"],
    "deliveries retry": ["deliveries", "retry", "2"],
    "deliveries prune": ["deliveries", "prune", "--older-than", "1h"],
    "explain": ["explain", "1"],
    "print-urls": ["print-urls"],
    "doctor": ["doctor"],
}
"""Commands that say something in colour."""
PLAIN = {
    "trigger --list": ["trigger", "--list"],
    "deliveries export": ["deliveries", "export", "1"],
    "deliveries show --payload": ["deliveries", "show", "1", "--payload"],
    "print-urls --local": ["print-urls", "--local"],
}
"""Commands that print what was asked for, and no more."""
WITH_JSON = {
    "trigger": ["trigger", "discussion:create"],
    "replay": ["replay", "1"],
    "replay --dry-run": ["replay", "1", "--dry-run"],
    "deliveries": ["deliveries"],
    "deliveries show": ["deliveries", "show", "1"],
    "explain": ["explain", "1"],
    "print-urls": ["print-urls"],
    "doctor": ["doctor"],
}
WITHOUT_SERVER = {
    "trigger": (["trigger", "discussion:create"], 3),
    "replay": (["replay", "{payload}"], 3),
    "replay 1": (["replay", "1"], 3),
    "deliveries": (["deliveries"], 3),
    "deliveries show": (["deliveries", "show", "1"], 3),
    "deliveries export": (["deliveries", "export", "1"], 3),
    "deliveries retry": (["deliveries", "retry", "1"], 3),
    "deliveries prune": (["deliveries", "prune", "--all", "--yes"], 3),
    "explain": (["explain", "{payload}"], 3),
    "print-urls": (["print-urls"], 3),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running server with a delivery that succeeded and one that failed."""
    folder = tmp_path_factory.mktemp("everywhere")
    (folder / "app.py").write_text(TEXT)
    with Server(folder / "app.py", env={"XDG_STATE_HOME": str(folder)}) as server:
        server.post("talk", PULL)
        server.post("push", payload_bytes("repo_create_v3_built"))
        wait_until(lambda: len(server.deliveries) == 2)
        yield folder


@pytest.fixture
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.setenv("HFHOOKS_PORT", "0")
    return folder


def filled(arguments: list[str], folder: Path) -> list[str]:
    payload = folder / "payload.json"
    payload.write_bytes(PULL)
    new = f"new{len(list(folder.iterdir()))}"
    return [argument.format(new=new, payload=payload) for argument in arguments]


@pytest.mark.parametrize("command", COLOURED)
def test_a_terminal_has_colours_unless_a_person_wants_none(
    served: Path, tmp_path: Path, command: str
) -> None:
    arguments = COLOURED[command]
    for env, has_colours in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        result = at_terminal(*filled(arguments, tmp_path), cwd=tmp_path, env=env)
        assert result.returncode in (0, 1) and "Traceback" not in result.stdout
        assert bool(COLOUR.search(result.stdout)) is has_colours, result.stdout


@pytest.mark.parametrize("command", PLAIN)
def test_data_have_no_colours_at_a_terminal(served: Path, tmp_path: Path, command: str) -> None:
    result = at_terminal(*PLAIN[command], cwd=tmp_path, env={"NO_COLOR": ""})
    assert (result.returncode, COLOUR.search(result.stdout)) == (0, None)


@pytest.mark.parametrize("command", COLOURED | PLAIN)
def test_a_pipe_has_plain_lines(served: Path, tmp_path: Path, command: str) -> None:
    arguments = filled((COLOURED | PLAIN)[command], tmp_path)
    result = run_command(*arguments, cwd=tmp_path, env={"NO_COLOR": ""})
    assert result.returncode in (0, 1), result.stderr
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize("command", WITH_JSON)
def test_programs_get_a_json_object_a_line(served: Path, tmp_path: Path, command: str) -> None:
    result = run_command(*WITH_JSON[command], "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows and all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize("command", WITHOUT_SERVER)
def test_without_a_server_it_is_said_what_to_do(tmp_path: Path, command: str) -> None:
    arguments, code = WITHOUT_SERVER[command]
    result = run_command(*filled(arguments, tmp_path), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    error, help = result.stderr.splitlines()
    assert error.startswith("error: no ") and help.startswith("help: ")


def test_a_reader_that_has_gone_is_no_trouble(served: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    for arguments in (["deliveries"], ["deliveries", "show", "1"], ["trigger", "--list"]):
        found = subprocess.run([*COMMAND, *arguments], stdout=write, stderr=subprocess.PIPE)
        assert b"Traceback" not in found.stderr
    os.close(write)
