"""`hfhooks serve` on machines that give little."""

import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import COMMAND, payload_bytes, wait_until

PULL = payload_bytes("pr_create_v3_docs")
APP = """
from hfhooks import webhook_endpoint

@webhook_endpoint
def hello():
    return "hello"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("limit", "code", "error"),
    [
        ("-n 20", 3, "error: only 20 files may be open at once, which is not enough.\n"),
        ("-f 1", 3, "error: the journal in "),
    ],
)
def test_a_limit_that_is_too_low_is_said(
    script: Callable[..., Path], limit: str, code: int, error: str
) -> None:
    command = shlex.join([*COMMAND, "serve", str(script(APP)), "--port", "0"])
    shell = ["bash", "-c", f"ulimit {limit}; {command}"]
    # What coverage would write at the end is a file, too.
    env = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    found = subprocess.run(shell, capture_output=True, text=True, env=env, timeout=60)
    assert (found.returncode, found.stdout) == (code, "")
    assert found.stderr.startswith(error)
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TMPDIR": "/nowhere"},
        {"COLUMNS": "10", "TERM": "dumb"},
    ],
    ids=["an ASCII locale", "no temporary folder", "a small terminal"],
)
def test_what_is_missing_is_done_without(
    start: Callable[..., Any], script: Callable[..., Path], env: dict[str, str]
) -> None:
    server = start(script(APP), env=env, as_json=False)
    wait_until(lambda: "Press Ctrl-C" in server.stderr, timeout=30)
    assert server.stop() == 0
    assert "Traceback" not in server.stderr


def test_a_stalled_body_holds_up_no_stop_for_long(
    start: Callable[..., Any], script: Callable[..., Path]
) -> None:
    server = start(script(APP))
    port = int(server.ready["local_url"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sender:
        head = "POST /webhooks/hello HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        sender.sendall(head.encode() + b"content-length: 10\r\n\r\n{")
        assert server.post("hello", PULL).status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 12
        assert b" 408 " in sender.recv(4096)
