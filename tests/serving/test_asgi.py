"""A `WebhooksServer` under uvicorn, and under whatever else calls ASGI applications."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hfhooks import Delivery, WebhookPayload, WebhooksServer
from hfhooks.script.registry import Registry, collecting
from tests.harness import PAYLOADS, payload_bytes, post, request, wait_until
from tests.zygote import Forked

PULL = payload_bytes("pr_create_v3_docs")
SCRIPT = """
import os, time
from contextlib import asynccontextmanager
from pathlib import Path
from fastapi import BackgroundTasks, Request, WebSocket
from hfhooks import Delivery, WebhookPayload, WebhooksServer, webhook_endpoint

@asynccontextmanager
async def lifespan(app):
    print("entered", flush=True)
    yield {"model": "a model"}
    print("left", flush=True)

app = WebhooksServer(lifespan=lifespan)

@app.add_webhook
def push(payload: WebhookPayload, delivery: Delivery):
    return {"repo": payload.repo.name, "id": delivery.id}

@app.add_webhook
def slow(delivery: Delivery):
    time.sleep(0.2)
    with open("done.txt", "a") as done:
        print(delivery.id, file=done)

@webhook_endpoint
async def model(request: Request):
    return request.state.model

@webhook_endpoint
async def late(tasks: BackgroundTasks):
    tasks.add_task(fail)
    return "done"

def fail():
    raise RuntimeError("too late")

@app.fastapi_app.get("/model")
async def own(request: Request):
    return request.state.model

@app.fastapi_app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    await socket.send_text((await socket.receive_text()).upper())

app.launch()
"""


class Uvicorn:
    """`uvicorn app:app` in a process of its own."""

    def __init__(
        self, folder: Path, *options: str, env: dict[str, str], start: Any = Forked
    ) -> None:
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", *options]
        self._log = folder / "log.txt"
        with self._log.open("w") as log:
            self.process: subprocess.Popen[bytes] = start(
                command, cwd=folder, stdout=log, stderr=log, env=os.environ | env
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        def running() -> str | None:
            assert self.process.poll() is None, self.said
            words = self.said.partition("running on ")[2].split()
            return words[0] if words else None

        url: str = wait_until(running, timeout=30)
        return url

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=30)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Uvicorn]]:
    (tmp_path / "app.py").write_text(SCRIPT)
    servers: list[Uvicorn] = []

    def serve(*options: str, start: Any = Forked, **env: str) -> Uvicorn:
        servers.append(Uvicorn(tmp_path, *options, env=env, start=start))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


def test_the_pyproject_beside_it_counts_and_is_said(
    serve: Callable[..., Uvicorn], tmp_path: Path
) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[tool.hfhooks]\npublic_url = "https://a.test"\n')
    server = serve()
    assert request("GET", server.url + "/").status == 200
    assert f"note: {pyproject} says public_url = 'https://a.test'." in server.said
    server.stop()
    pyproject.chmod(0o666)
    server = serve()
    assert request("GET", server.url + "/").status == 200
    assert f"note: {pyproject} is ignored: everybody may write to it" in server.said
    assert "To say the same: HFHOOKS_PUBLIC_URL=https://a.test" in server.said


def test_uvicorn_serves_endpoints_routes_and_sockets(serve: Callable[..., Uvicorn]) -> None:
    server = serve(start=subprocess.Popen)
    assert post(server.url + "/webhooks/push", PULL).json()["id"] == 1
    assert post(server.url + "/webhooks/model", PULL).json() == "a model"
    assert request("GET", server.url + "/model").json() == "a model"
    assert f"{server.url}/webhooks/push".encode() in request("GET", server.url + "/").body
    client = pytest.importorskip("websockets.sync.client")
    with client.connect(server.url.replace("http", "ws") + "/echo") as echo:
        echo.send("hello")
        assert echo.recv() == "HELLO"
    assert server.stop() in (0, -signal.SIGTERM)
    assert server.said.index("entered") < server.said.index("left")


def test_no_page_of_a_stranger_runs_a_handler(serve: Callable[..., Uvicorn]) -> None:
    server = serve()
    url = server.url + "/webhooks/push"
    rebound = {"origin": "http://evil.example:8000", "host": "evil.example:8000"}
    assert post(url, PULL, **rebound).status == 403
    assert post(url, PULL, sec_fetch_site="cross-site").status == 403
    assert post(url, PULL, host="hooks.internal").json()["id"] == 1


def test_nothing_is_lost_when_it_is_killed(serve: Callable[..., Uvicorn], tmp_path: Path) -> None:
    done = tmp_path / "done.txt"
    done.touch()
    server = serve(HFHOOKS_WAIT="0")
    accepted: list[int] = []
    for _ in range(3):
        accepted += [post(server.url + "/webhooks/slow", PULL).json()["id"] for _ in range(20)]
        server.stop(signal.SIGKILL)
        server = serve(HFHOOKS_WAIT="0")
    wait_until(lambda: set(map(int, done.read_text().split())) == set(accepted), timeout=30)


def test_a_stop_gives_what_runs_its_grace(serve: Callable[..., Uvicorn], tmp_path: Path) -> None:
    server = serve(HFHOOKS_WAIT="0")
    post(server.url + "/webhooks/slow", PULL)
    server.stop()
    assert (tmp_path / "done.txt").read_text() == "1\n"


def test_one_journal_has_one_process(serve: Callable[..., Uvicorn]) -> None:
    first = serve()
    assert first.url
    second = serve()
    assert second.process.wait(timeout=30) == 3
    assert f"in use by process {first.process.pid}" in second.said
    assert "Traceback" not in second.said


def test_hfhooks_serve_and_uvicorn_share_the_journal_of_a_script(
    serve: Callable[..., Uvicorn], start: Any, tmp_path: Path
) -> None:
    server = serve()
    assert post(server.url + "/webhooks/push", PULL).json()["id"] == 1
    server.stop()
    again = start(tmp_path / "app.py")
    assert again.post("push", PULL).json()["id"] == 2


def test_a_background_task_that_fails_makes_its_delivery_fail(
    serve: Callable[..., Uvicorn],
) -> None:
    server = serve()
    assert post(server.url + "/webhooks/late", PULL).json() == "done"
    wait_until(lambda: "RuntimeError: too late" in server.said)
    assert "in the background, after the answer" in server.said


def test_a_lifespan_that_fails_ends_the_start(
    serve: Callable[..., Uvicorn], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(SCRIPT.replace('print("entered", flush=True)', "1 / 0"))
    server = serve()
    assert server.process.wait(timeout=30) == 3
    assert "ZeroDivisionError" in server.said


def test_an_open_server_is_warned_about(serve: Callable[..., Uvicorn]) -> None:
    server = serve()
    assert server.url
    assert "the webhook secret is not set" in server.said


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhooksServer]:
    monkeypatch.setenv("HFHOOKS_STATE_DIR", str(tmp_path))
    with collecting(Registry()):
        app = WebhooksServer(webhook_secret="a-secret-of-ours")

        @app.add_webhook(on="repo")
        async def push(payload: WebhookPayload, delivery: Delivery) -> dict[str, Any]:
            return {"id": delivery.id, "head": payload.repo.headSha}

        yield app


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


SECRET = {"x-webhook-secret": "a-secret-of-ours", "content-type": "application/json"}
PUSH = payload_bytes("repo_content_update_main_v3_captured")


async def test_without_a_lifespan_the_first_request_starts_it(app: WebhooksServer) -> None:
    async with client_of(app) as client:
        answer = await client.post("/webhooks/push", content=PUSH, headers=SECRET)
        assert answer.json()["id"] == 1
        again = await client.post("/webhooks/push?secret=a-secret-of-ours", content=PUSH)
        assert again.status_code == 415
    app._application._living.cancel()


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/webhooks/push", {"content": PULL, "headers": SECRET}, 200),
        ("/webhooks/push", {"content": PULL}, 401),
        ("/webhooks/push", {"content": b"{", "headers": SECRET}, 400),
        ("/webhooks/push", {"content": b"[]", "headers": SECRET}, 400),
        ("/webhooks/push", {"content": b" " * 5_000_000, "headers": SECRET}, 413),
        ("/webhooks/nowhere", {"content": PULL, "headers": SECRET}, 404),
        ("/webhooks/push", {"content": PULL, "headers": SECRET | {"host": "a b"}}, 400),
        ("/" + "a" * 3000, {"content": PULL, "headers": SECRET}, 414),
    ],
)
async def test_it_answers_as_the_gateway_does(
    app: WebhooksServer, path: str, options: dict[str, Any], status: int
) -> None:
    async with client_of(app) as client:
        assert (await client.post(path, **options)).status_code == status
    app._application._living.cancel()


async def test_it_may_be_mounted_in_another_application(app: WebhooksServer) -> None:
    outer = FastAPI()
    outer.mount("/hooks", app)
    async with client_of(outer) as client:
        answer = await client.post("/hooks/webhooks/push", content=PUSH, headers=SECRET)
        assert answer.json()["id"] == 1
        page = await client.get("/hooks/")
        assert "http://test/hooks/webhooks/push" in page.text
        assert (await client.head("/hooks/")).content == b""
    app._application._living.cancel()


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
async def test_every_payload_is_accepted(app: WebhooksServer, path: Path) -> None:
    async with client_of(app) as client:
        answer = await client.post("/webhooks/push", content=path.read_bytes(), headers=SECRET)
    app._application._living.cancel()
    assert answer.status_code == 200


def test_a_client_without_a_lifespan_may_ask_again(app: WebhooksServer) -> None:
    """As starlette's TestClient does, each time in an event loop of its own."""
    client = TestClient(app)
    for number in (1, 2):
        answer = client.post("/webhooks/push", content=PUSH, headers=SECRET)
        assert answer.json()["id"] == number
