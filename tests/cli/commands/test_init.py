import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfhooks.cli.commands.init import TRIES
from tests.harness import run_command

Start = Callable[..., Any]


@pytest.mark.parametrize("template", TRIES)
def test_what_it_writes_runs_as_it_is(start: Start, tmp_path: Path, template: str) -> None:
    result = run_command("init", "mine.py", "--template", template, cwd=tmp_path)
    assert result.returncode == 0
    written, tried = result.stderr.splitlines()
    assert written == "note: mine.py is written. To serve it: hfhooks serve mine.py"
    assert "{" not in (tmp_path / "mine.py").read_text().partition('"""\n\n')[0]
    server = start("mine.py", cwd=tmp_path)
    assert server.ready
    command = shlex.split(tried.partition("hfhooks ")[2])
    sent = run_command(*command)
    assert (sent.returncode, "succeeded" in sent.stderr) == (0, True), sent.stderr


def test_from_an_empty_folder_to_a_handled_event(start: Start, tmp_path: Path) -> None:
    assert run_command("init", cwd=tmp_path).returncode == 0
    assert start(cwd=tmp_path).ready
    sent = run_command("trigger", "repo.content:update", "--repo", "dataset:me/data")
    assert json.loads(sent.stdout) == {"training_on": "me/data"}


@pytest.mark.parametrize("name", ["a b.py", 'q"""q.py', "back\\slash.py", "é.py"])
def test_any_name_makes_a_script(tmp_path: Path, name: str) -> None:
    result = run_command("init", name, cwd=tmp_path)
    assert result.returncode == 0
    compile((tmp_path / name).read_bytes(), name, "exec")
    command = result.stderr.splitlines()[0].partition("serve it: ")[2]
    assert shlex.split(command) == ["hfhooks", "serve", name]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text("mine")
    result = run_command("init", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "error: handlers.py is there already."
    assert (tmp_path / "handlers.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--template", "discusion-bot"], 2, "did you mean 'discussion-bot'?"),
        (["bot.txt"], 2, "a script's name ends with .py."),
        (["no/such/folder/bot.py"], 5, "no such file or directory"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    result = run_command("init", *arguments, cwd=tmp_path)
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr
