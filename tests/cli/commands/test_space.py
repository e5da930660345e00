"""`hfhooks serve` in a Space: its proxy is the way in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.harness import post, run_command, wait_until

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
