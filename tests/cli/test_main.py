import os
import subprocess
import sys
from pathlib import Path

import pytest

from hfhooks import __version__
from hfhooks.cli.main import COMMANDS, OF_DELIVERIES
from tests.harness import run_command

EVERY = [*COMMANDS, *(f"deliveries {name}" for name in OF_DELIVERIES)]


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version(word: str) -> None:
    assert run_command(word).stdout == f"hfhooks {__version__}\n"


def test_help_is_a_word_too() -> None:
    assert run_command("help").stdout == run_command("--help").stdout
    for command in ("serve", "deliveries show"):
        words = command.split()
        assert run_command("help", *words).stdout == run_command(*words, "--help").stdout


def test_where_there_is_no_script_it_is_said_how_to_write_one(tmp_path: Path) -> None:
    result = run_command("serve", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[1] == "help: Write one to begin with: hfhooks init"


def test_the_console_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("hfhooks")
    found = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert found.stdout == f"hfhooks {__version__}\n"


def test_help_lists_every_command() -> None:
    result = run_command("--help")
    assert result.returncode == 0
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)


def test_without_a_command_it_shows_the_help() -> None:
    result = run_command()
    assert (result.returncode, result.stdout) == (2, run_command("--help").stdout)


@pytest.mark.parametrize("command", EVERY)
def test_help_of_a_command_has_examples_to_paste(command: str) -> None:
    result = run_command(*command.split(), "-h")
    assert result.returncode == 0
    assert f"\n    hfhooks {command} " in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["srve"], "error: no command 'srve', did you mean 'serve'?"),
        (["deliveries", "shwo"], "error: no command 'shwo', did you mean 'show'?"),
        (["serve", "--prot", "1"], "error: no such option: --prot"),
        (["serve", "--port", "x"], "error: --port x: a whole number is needed."),
        (["replay"], "error: nothing to replay"),
        (["print-urls", "--wait", "-1"], "error: --wait -1: it is at least 0"),
        (["print-urls", "x"], "error: got unexpected extra argument"),
        (["deliveries", "show"], "error: missing argument 'ID'."),
    ],
)
def test_wrong_usage_is_a_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    result = run_command(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(words)
    assert all(line.startswith(("error: ", "help: ")) for line in result.stderr.splitlines())


NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""The shell is an argument, whichever there is around the tests."""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_shells(shell: str) -> None:
    assert "hfhooks" in run_command("--show-completion", shell, env=NAMED).stdout


BUSY = """
import ssl, sys, threading
from hfhooks.__main__ import main

def connect_for_ever():
    while True:
        ssl.create_default_context()

for _ in range(4):
    threading.Thread(target=connect_for_ever, daemon=True).start()
sys.argv[1:] = ["--version"]
main()
"""


def test_a_call_that_goes_on_in_a_thread_changes_nothing_at_the_end() -> None:
    """As where a tunnel is being opened: OpenSSL crashes when it is torn down meanwhile."""
    for _ in range(3):
        found = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True)
        assert (found.returncode, found.stderr) == (0, "") and "hfhooks" in found.stdout


def test_a_closed_stdout_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "hfhooks", "--version"]
    found = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert found.stderr == ""
