#!/usr/bin/env python3
"""A stand-in for `cloudflared tunnel --url ...`: its lines on stderr, its metrics, and an edge.

Written from cloudflared's public issues and documentation. FAKE_CLOUDFLARED_SCENARIO is `ok`,
`failed`, `rate_limited`, `dies` (200 ms after the URL, or when the file appears that
FAKE_CLOUDFLARED_DIE names) or `floods` (2 MB of lines after the URL, before it is ready).
FAKE_CLOUDFLARED_STATE names a JSON file with the address of the edge, where requests for the
public URL really go; FAKE_CLOUDFLARED_URL=loopback makes that the URL itself.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.standins.edge import Edge, Handler, LoopbackServer, Page
    from tests.standins.program import end_on_signals, write_state
else:  # run as a program, from its own folder
    from edge import Edge, Handler, LoopbackServer, Page
    from program import end_on_signals, write_state

NAME = "https://plain-words-stand-in.trycloudflare.com"
FAILURES = {
    "failed": [
        'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": '
        "dial tcp: lookup api.trycloudflare.com: no such host",
    ],
    "rate_limited": [
        "ERR Error unmarshaling QuickTunnel response: error code: 1015 "
        "error=\"invalid character 'e' looking for beginning of value\" "
        'status_code="429 Too Many Requests"',
        "failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value",
    ],
}
SCENARIOS = {"ok", "dies", "floods", *FAILURES}


def log(line: str) -> None:
    """Write a line; those with a level get the time before it, as cloudflared has it."""
    is_plain = not line.startswith(("INF ", "ERR "))
    moment = "" if is_plain else time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime())
    sys.stderr.write(f"{moment}{line}\n")
    sys.stderr.flush()


def failure(error: Exception) -> Page:
    log(f'ERR  error="Unable to reach the origin service: {error}" connIndex=0 ingressRule=0')
    return Page([("content-type", "text/html")], b"<title>502: Bad gateway</title>")


class Metrics(Handler):
    url: str
    is_ready: threading.Event

    def reply(self) -> None:
        content: dict[str, Any] = {"hostname": self.url.partition("://")[2]}
        status = 200 if self.path in ("/quicktunnel", "/ready") else 404
        if self.path == "/ready":
            status = 200 if self.is_ready.is_set() else 503
            content = {"status": status, "readyConnections": int(self.is_ready.is_set())}
        self.answer(status, [("content-type", "application/json")], json.dumps(content).encode())

    do_GET = reply  # noqa: N815 # http.server's names


def announce(url: str) -> None:
    border = "+" + "-" * 92 + "+"
    visit = (
        "Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):"
    )
    for line in (border, f"|  {visit}  |", f"|  {url:<90}|", border):
        log(f"INF {line}")


def run(upstream: str, metrics_port: int) -> int:
    scenario = os.environ.get("FAKE_CLOUDFLARED_SCENARIO", "ok")
    assert scenario in SCENARIOS, scenario
    log(
        "INF Thank you for trying Cloudflare Tunnel. Doing so, without a Cloudflare account, is ..."
    )
    log("INF Requesting new quick Tunnel on trycloudflare.com...")
    if scenario in FAILURES:
        for line in FAILURES[scenario]:
            log(line)
        return 1
    edge = Edge(upstream, failure)
    url = edge.url if os.environ.get("FAKE_CLOUDFLARED_URL") == "loopback" else NAME
    is_ready = threading.Event()
    metrics = LoopbackServer(
        metrics_port, type("Own", (Metrics,), {"url": url, "is_ready": is_ready})
    )
    metrics.start()
    address = f"127.0.0.1:{metrics.server_address[1]}"
    write_state("FAKE_CLOUDFLARED_STATE", url=url, edge=edge.url, metrics=address)
    announce(url)
    log(f"INF Starting metrics server on {address}/metrics")
    if scenario == "floods":
        for number in range(22_000):
            log(f"INF Flood {number:5} of lines that a reader has to take, or all stands still")
    log("INF Registered tunnel connection connIndex=0 ip=198.41.200.1 location=fra01 protocol=quic")
    is_ready.set()
    if scenario != "dies":
        threading.Event().wait()
    die = os.environ.get("FAKE_CLOUDFLARED_DIE")
    while die and not Path(die).exists():
        time.sleep(0.02)
    time.sleep(0 if die else 0.2)
    log("ERR Register tunnel error from server side error=Unauthorized: Tunnel not found")
    return 1


def main() -> int:
    end_on_signals()
    parser = argparse.ArgumentParser(prog="cloudflared")
    parser.add_argument("--version", action="version", version="cloudflared version 2026.10.0")
    parser.add_argument("command", choices=["tunnel"])
    parser.add_argument("--no-autoupdate", action="store_true")
    parser.add_argument("--metrics", default="127.0.0.1:0")
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    return run(options.url, int(options.metrics.rpartition(":")[2]))


if __name__ == "__main__":
    sys.exit(main())
