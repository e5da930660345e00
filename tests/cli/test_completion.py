"""What the shell offers when a person presses Tab."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hfhooks.cli.commands.init import TRIES
from hfhooks.cli.main import COMMANDS
from hfhooks.journal import open_journal
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.samples import SAMPLES
from hfhooks.serving.owner import find_server
from tests.harness import Terminal, payload, payload_bytes, run_command, wait_until

Script = Callable[..., Path]
Start = Callable[..., Any]

NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""The shell is an argument, whichever there is around the tests."""
HOSTILE = "\\$(touch here)\\`touch here`"
FILES = ["pay $(touch here) `touch here` end", "pay'; touch here; \"end", "pay\\;touch here&end"]
"""Names that run something where they are not quoted."""
PULL = payload_bytes("pr_create_v3_docs")
TWO = """
from hfhooks import webhook_endpoint

@webhook_endpoint
def push(payload): return 1

@webhook_endpoint(on="discussion")
def talk(payload): return 1
"""


def offered(line: str, cwd: Path | None = None) -> list[str]:
    """Return what bash is told after this much of a command line."""
    words = line.split(" ")
    env = {"_HFHOOKS_COMPLETE": "complete_bash", "COMP_WORDS": line}
    result = run_command(env=env | {"COMP_CWORD": str(len(words) - 1)}, cwd=cwd)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def server(start: Start, script: Script) -> Any:
    server = start(script(TWO))
    for name in ("push", "talk"):
        server.post(name, PULL)
    wait_until(lambda: len(server.deliveries) == 2)
    return server


def test_commands_are_offered() -> None:
    assert offered("hfhooks ") == list(COMMANDS)
    assert offered("hfhooks re") == ["replay"]
    assert offered("hfhooks deliveries ") == ["show", "export", "retry", "cancel", "prune"]


def test_options_are_offered() -> None:
    assert "--public-url" in offered("hfhooks serve --p")


def test_endpoints_and_deliveries_are_those_of_the_server(server: Any) -> None:
    assert offered("hfhooks replay --to ") == ["push", "talk"]
    assert offered("hfhooks trigger --to t") == ["talk"]
    assert offered("hfhooks deliveries --endpoint ") == ["push", "talk"]
    for command in ("deliveries show", "deliveries export", "deliveries retry", "explain"):
        assert offered(f"hfhooks {command} ") == ["2", "1"], command


def test_without_a_server_they_are_those_of_the_last_one(server: Any) -> None:
    server.stop()
    assert offered("hfhooks replay --to ") == ["push", "talk"]
    assert offered("hfhooks deliveries show ") == ["2", "1"]


def test_where_there_is_nothing_nothing_is_offered_and_said() -> None:
    assert offered("hfhooks replay --to ") == []
    assert offered("hfhooks deliveries show ") == []


def test_nothing_that_comes_from_outside_is_offered(server: Any, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_bytes(PULL)
    assert offered("hfhooks replay ", cwd=tmp_path) == ["2", "1"]
    assert offered("hfhooks explain ", cwd=tmp_path) == ["2", "1"]
    url = find_server().journal
    server.stop()

    async def publish() -> None:
        journal = open_journal(url)
        names = (HOSTILE, "--json", "talk")
        await journal.publish([Published(Endpoint(name), "nobody") for name in names])
        await journal.close()

    asyncio.run(publish())
    assert offered("hfhooks replay --to ") == ["talk"]


def test_fixed_words_are_offered() -> None:
    assert offered("hfhooks trigger ") == list(SAMPLES)
    assert offered("hfhooks init --template ") == list(TRIES)
    assert offered("hfhooks serve --tunnel ") == ["auto", "ngrok", "cloudflared", "ssh", "none"]
    assert offered("hfhooks deliveries --status f") == ["failed"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_each_is(server: Any, shell: str) -> None:
    env = {"_HFHOOKS_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    env["_TYPER_COMPLETE_ARGS"] = "hfhooks deliveries show "
    shown = run_command(env=env).stdout
    assert re.search(r"\b2\b.*\d{4}-\d\d-\d\d", shown) and "talk" not in shown


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(server: Any) -> None:
    programs = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    script = run_command("--show-completion", "bash", env=NAMED)
    line = "COMP_WORDS=(hfhooks deliveries show ''); COMP_CWORD=3; _hfhooks_completion hfhooks"
    asked = f'{script.stdout}\n{line}; echo "${{COMPREPLY[@]}}"'
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, env=env)
    assert found.stdout.split() == ["2", "1"], found.stderr


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> str:
    """A shell in which a person presses Tab."""
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    return str(request.param)


@pytest.mark.parametrize("command", ["replay", "deliveries show", "explain"])
def test_tab_runs_nothing_of_a_sender(
    command: str, shell: str, start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(TWO))
    hostile = payload("pr_create_v3_docs")
    hostile["repo"]["name"] = f"me/{HOSTILE}"
    hostile["event"] = {"scope": HOSTILE, "action": "`touch here`"}
    server.post("push", hostile)
    wait_until(lambda: server.deliveries)
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / f"{HOSTILE}.json").write_bytes(PULL)
    line = f"hfhooks {command} "
    with closing(typing(shell, folder)) as terminal:
        terminal.press(f"{line}\t")
        terminal.wait_for(f"{command} 1")  # the only one there is
    assert [file.name for file in folder.iterdir()] == [f"{HOSTILE}.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["replay", "explain", "serve", "replay --offline"])
def test_a_file_is_completed_by_the_shell_as_one_word(
    command: str, name: str, shell: str, tmp_path: Path
) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / name).write_bytes(PULL)
    with closing(typing(shell, folder)) as terminal:
        terminal.press(f"hfhooks {command} pay\t")
        terminal.wait_for("end")
        terminal.press("\r")  # which runs it
        terminal.wait_for("ready> ", 2)
        terminal.press("touch don'e'\r")
        wait_until(lambda: (folder / "done").exists())
    (folder / "done").unlink()
    assert [file.name for file in folder.iterdir()] == [name]


def typing(shell: str, cwd: Path) -> Terminal:
    """Return a terminal at which a person can type: in this shell, with our completion."""
    home = Path(os.environ["HOME"])
    programs = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}
    env |= {"ZDOTDIR": str(home), "XDG_CONFIG_HOME": str(home), **NAMED}
    completion = run_command("--show-completion", shell, env=env).stdout
    file, text, *command = {
        "bash": ("rc", "PS1='ready> '", "bash", "--rcfile", str(home / "rc"), "-i"),
        "zsh": (".zshrc", "PS1='ready> '", "zsh", "-i"),
        "fish": (
            "rc",
            "function fish_prompt; echo -n 'ready> '; end",
            *("fish", "--no-config", "-i", "-C", f"source {home / 'rc'}"),
        ),
    }[shell]
    before = "autoload -Uz compinit; compinit -u\n" if shell == "zsh" else ""
    (home / file).write_text(f"{before}{completion}\n{text}\n")
    terminal = Terminal(command, cwd, env)
    terminal.wait_for("ready> ")
    return terminal
