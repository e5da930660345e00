"""A public URL behind a real reverse proxy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Server, payload_bytes, post, run_command, wait_until
from tests.tunnels.conftest import ReverseProxy, free_port

PULL = payload_bytes("pr_create_v3_docs")
Start = Callable[..., Server]


@pytest.mark.parametrize("prefix", ["", "/hooks"])
def test_a_delivery_comes_by_the_proxy(
    start: Start, app: Path, nginx: ReverseProxy, prefix: str
) -> None:
    port = free_port()
    nginx.start(f"location {prefix}/ {{ proxy_pass http://127.0.0.1:{port}/; }}")
    server = start(app, "--public-url", f"{nginx.url}{prefix}/", port=port)
    ready = server.ready
    assert (ready["tunnel"], ready["url"]) == ("fixed", nginx.url + prefix)
    assert ready["local_url"] == f"http://127.0.0.1:{port}"
    answer = post(f"{nginx.url}{prefix}/webhooks/echo", PULL)
    assert (answer.status, answer.json()) == (200, {"repo": "openai-community/gpt2"})


def test_a_proxy_may_start_late_and_go_away(start: Start, app: Path, nginx: ReverseProxy) -> None:
    port = free_port()
    server = start(app, "--public-url", nginx.url, port=port)
    assert server.ready["url"] == nginx.url
    wait_until(lambda: server.lines[1:])
    assert server.events[1] == {"type": "tunnel", "state": "down", "url": nginx.url}
    note = f"note: no public URL for now: {nginx.url} does not lead here: connection refused."
    wait_until(lambda: note in server.stderr)
    nginx.start(f"location / {{ proxy_pass http://127.0.0.1:{port}; }}")
    wait_until(lambda: server.events[-1] == {"type": "tunnel", "state": "up", "url": nginx.url})


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("return 301 https://elsewhere.test$request_uri;", "it redirects to https://elsewhere"),
        ("location / { proxy_pass http://127.0.0.1:9; }", "the answer is 502"),
        ("return 404;", "another server answers there"),
        ("return 200;", "the answer is 200"),
    ],
)
def test_a_proxy_that_leads_elsewhere_is_named(
    start: Start, app: Path, nginx: ReverseProxy, rule: str, words: str
) -> None:
    nginx.start(rule)
    server = start(app, "--public-url", nginx.url)
    assert server.ready
    wait_until(lambda: words in server.stderr)


@pytest.mark.parametrize(
    "url", ["hooks.example.com", "ftp://a.test", "https://", "https://u:p@a.test", "https://a/?b"]
)
def test_what_is_no_url(app: Path, url: str) -> None:
    found = run_command("serve", str(app), "--public-url", url)
    assert found.returncode == 2
    shown = "…" if "@" in url else url
    why = "a URL such as https://hooks.example.com is needed."
    assert found.stderr == f"error: --public-url {shown}: {why}\n"
