"""Pages of strangers in a real browser, beside a server without a secret."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Server, wait_until

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SCRIPT = """
from fastapi import Request
from hfhooks import webhook_endpoint

@webhook_endpoint
def hello(payload: dict):
    return {"said": "hello"}

@webhook_endpoint
async def raw(request: Request):
    return {"said": "raw"}
"""
STRANGER = "stranger.test"
"""A name that has come to mean this machine."""
EMPTY = "<!doctype html><title>a page</title>"
POST = """([url, options]) => fetch(url, {method: "POST", body: "{}", ...options})
    .then(answer => answer.status, error => String(error))"""
SANDBOXED = """url => new Promise(told => {
    addEventListener("message", event => told(event.data), {once: true});
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script>fetch("${url}", {method: "POST", body: "{}", mode: "no-cors"})
        .then(() => parent.postMessage("sent", "*"), e => parent.postMessage(String(e), "*"))
        </script>`;
    document.body.append(frame);
})"""
JSON = {"headers": {"content-type": "application/json"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("pages") / "app.py"
    path.write_text(SCRIPT)
    with Server(path, env={"XDG_STATE_HOME": str(path.parent)}) as server:
        assert server.ready
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = f"--host-resolver-rules=MAP {STRANGER} 127.0.0.1"
    # Newer Chromium asks a person first; others do not, and that person may agree.
    lets_through = "--disable-features=LocalNetworkAccessChecks"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", names, lets_through]
        )
        yield browser
        browser.close()


def page_at(browser: Any, origin: str) -> Any:
    """Return an empty page of this origin, in whose place the server has none."""
    page = browser.new_page()
    page.route(f"{origin}/page", lambda route: route.fulfill(body=EMPTY, content_type="text/html"))
    page.goto(f"{origin}/page")
    return page


def port_of(server: Server) -> str:
    return str(server.ready["local_url"].rpartition(":")[2])


def test_a_page_of_this_machine_may_post(server: Server, browser: Any) -> None:
    page = page_at(browser, server.ready["local_url"])
    assert page.evaluate(POST, [server.url("hello"), JSON]) == 200
    assert page.evaluate(POST, [server.url("raw"), {}]) == 200


def test_a_name_that_means_this_machine_now_lets_no_page_in(server: Server, browser: Any) -> None:
    origin = f"http://{STRANGER}:{port_of(server)}"
    page = page_at(browser, origin)
    for options in (JSON, {"referrerPolicy": "no-referrer", **JSON}):
        assert page.evaluate(POST, [f"{origin}/webhooks/hello", options]) == 403
    assert page.evaluate(POST, [f"{origin}/webhooks/raw", {"referrerPolicy": "no-referrer"}]) == 403


@pytest.mark.parametrize("referrer_policy", ["no-referrer", "unsafe-url"])
def test_no_page_of_another_site_runs_a_handler(
    server: Server, browser: Any, referrer_policy: str
) -> None:
    before = len(server.deliveries)
    page = page_at(browser, "http://another.test")
    options = {"mode": "no-cors", "referrerPolicy": referrer_policy}
    for name in ("hello", "raw"):  # as text/plain, which a page may send without being asked
        assert page.evaluate(POST, [server.url(name), options]) == 0  # of which it hears nothing
    assert page.evaluate(SANDBOXED, server.url("raw")) == "sent"
    assert server.post("raw", b"{}").status == 200
    wait_until(lambda: len(server.deliveries) > before)
    assert len(server.deliveries) == before + 1


def test_a_frame_without_an_origin_is_a_stranger_even_in_a_page_of_ours(
    server: Server, browser: Any
) -> None:
    before = len(server.deliveries)
    page = page_at(browser, server.ready["local_url"])
    assert page.evaluate(SANDBOXED, server.url("raw")) == "sent"
    assert server.post("raw", b"{}").status == 200
    wait_until(lambda: len(server.deliveries) > before)
    assert len(server.deliveries) == before + 1
