import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfhooks.private import servers_folder
from tests.harness import COMMAND, run_command

Script = Callable[..., Path]
Start = Callable[..., Any]

HOSTILE = "\x1b\x07\x9b\n\r\t\u202e\u2066\u2028"
"""What steers a terminal."""
TWO = """
from hfhooks import webhook_endpoint

@webhook_endpoint
def a(): ...

@webhook_endpoint("/deep/b", on="repo")
def b(): ...
"""


def test_bare_urls_one_a_line(start: Start, script: Script) -> None:
    url = start(script(TWO)).ready["url"]
    result = run_command("print-urls")
    assert result.returncode == 0
    assert result.stdout == f"{url}/webhooks/a\n{url}/webhooks/deep/b\n"
    assert result.stderr == "note: no tunnel is open: these URLs work on this machine only.\n"


def test_no_url_steers_a_terminal_or_is_two(start: Start, script: Script) -> None:
    server = start(script(TWO))
    assert server.ready
    [file] = servers_folder().glob("*.json")
    row = json.loads(file.read_text())
    row["url"] = f"https://{HOSTILE}.test"
    file.write_text(json.dumps(row))
    lines = run_command("print-urls").stdout.splitlines()
    assert len(lines) == 2 and all(line.isascii() and line.isprintable() for line in lines)


@pytest.mark.parametrize("url", [f"https://{each}.test" for each in HOSTILE])
def test_a_public_url_that_steers_a_terminal_is_refused(script: Script, url: str) -> None:
    for arguments, env in ((["--public-url", url], {}), ([], {"HFHOOKS_PUBLIC_URL": url})):
        result = run_command("serve", str(script(TWO)), *arguments, env=env)
        assert (result.returncode, "a URL such as" in result.stderr) == (2, True)
        assert result.stderr.replace("\n", "").isprintable()


def test_local_urls_need_no_note(start: Start, script: Script) -> None:
    url = start(script(TWO)).ready["local_url"]
    result = run_command("print-urls", "--local")
    assert result.stdout.splitlines()[0] == f"{url}/webhooks/a"
    assert result.stderr == ""


def test_json_is_what_the_ready_line_says(start: Start, script: Script) -> None:
    ready = start(script(TWO)).ready
    shown = json.loads(run_command("print-urls", "--json").stdout)
    assert shown == {key: ready[key] for key in ready if key != "type"}


def test_wait_is_for_a_server_that_is_still_starting(start: Start, script: Script) -> None:
    with subprocess.Popen(
        [*COMMAND, "print-urls", "--local", "--wait", "30"], stdout=subprocess.PIPE, text=True
    ) as waiting:
        server = start(script(TWO))
        out, _ = waiting.communicate(timeout=60)
    assert out.splitlines()[0] == f"{server.ready['url']}/webhooks/a"


def test_without_a_server_it_says_how_to_start_one() -> None:
    for arguments in ((), ("--json",), ("--wait", "0.1")):
        result = run_command("print-urls", *arguments)
        assert (result.returncode, result.stdout) == (3, "")
        assert result.stderr.startswith("error: no server is running.\n")
    assert "on port 9" in run_command("print-urls", "--port", "9").stderr
