"""`hfhooks serve` in a Space: its proxy is the way in."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import COMMAND, post, run_command, wait_until

APP = """
from hfhooks import webhook_endpoint

@webhook_endpoint
def hello():
    return "hello"
"""
SPACE = {"SPACE_ID": "me/hooks", "SPACE_HOST": "me-hooks.hf.space", "NGROK_AUTHTOKEN": "unused"}


def test_the_urls_are_the_spaces(start: Callable[..., Any], script: Callable[..., Path]) -> None:
    server = start(script(APP), env=SPACE)
    ready = server.ready
    assert (ready["url"], ready["tunnel"]) == ("https://me-hooks.hf.space", None)
    assert ready["endpoints"][0]["url"] == "https://me-hooks.hf.space/webhooks/hello"
    printed = run_command("print-urls")
    assert (printed.stdout, printed.stderr) == ("https://me-hooks.hf.space/webhooks/hello\n", "")
    port = int(ready["local_url"].rpartition(":")[2])
    listening = [
        connection.laddr
        for connection in psutil.Process(server.process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    ]
    assert listening == [("0.0.0.0", port)]
    assert post(f"http://127.0.0.1:{port}/webhooks/hello", b"{}").json() == "hello"


def test_a_person_reads_the_public_url(
    start: Callable[..., Any], script: Callable[..., Path]
) -> None:
    server = start(script(APP), env=SPACE, as_json=False)
    wait_until(lambda: "Press Ctrl-C" in server.stderr, timeout=30)
    assert "Running on public URL: https://me-hooks.hf.space\n" in server.stderr
    assert "  POST https://me-hooks.hf.space/webhooks/hello\n" in server.stderr


UNKNOWN = ["unshare", "--user", "--map-user=12345"]
"""Runs a program as a user whom the machine does not know."""


def test_a_user_without_a_home_is_served_from_a_temporary_folder(
    start: Callable[..., Any], script: Callable[..., Path], tmp_path: Path
) -> None:
    homeless = [*UNKNOWN, "env", "-u", "HOME", "-u", "XDG_STATE_HOME"]
    try:
        subprocess.run([*homeless, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs user namespaces")
    server = start(script(APP), env={**SPACE, "TMPDIR": str(tmp_path)}, command=homeless + COMMAND)
    assert server.post("hello", b"{}").status == 200
    assert [*tmp_path.glob("hfhooks-*/journals/app-*/journal.db")]
    assert f"note: deliveries are recorded in {tmp_path}/hfhooks-" in server.stderr
    assert server.stop() == 0
