import os
import subprocess
import sys
from pathlib import Path

import pytest

from hfhooks import __version__
from tests.harness import run_command

COMMANDS = ["serve", "replay", "print-urls"]


def test_version() -> None:
    assert run_command("--version").stdout == f"hfhooks {__version__}\n"


def test_the_console_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("hfhooks")
    found = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert found.stdout == f"hfhooks {__version__}\n"


def test_help_lists_every_command() -> None:
    result = run_command("--help")
    assert result.returncode == 0
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)
    assert run_command().stdout + run_command().stderr == result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_examples_to_paste(command: str) -> None:
    result = run_command(command, "-h")
    assert result.returncode == 0
    assert f"\n    hfhooks {command} " in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["srve"], "No such command 'srve'. Did you mean 'serve'?"),
        (["serve", "--prot", "1"], "No such option: --prot"),
        (["serve", "--port", "x"], "Invalid value for '--port'"),
        (["replay"], "nothing to replay"),
        (["print-urls", "--wait", "-1"], "Invalid value for '--wait'"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_no_traceback(arguments: list[str], words: str) -> None:
    result = run_command(*arguments)
    assert result.returncode == 2
    assert words in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_shells(shell: str) -> None:
    result = run_command("--show-completion", shell)
    if "unexpected extra argument" in result.stderr:  # the shell is detected
        result = run_command("--show-completion", env={"SHELL": f"/bin/{shell}"})
    assert "hfhooks" in result.stdout


def test_a_closed_stdout_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "hfhooks", "--version"]
    found = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert found.stderr == ""
