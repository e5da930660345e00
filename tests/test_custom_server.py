"""What a script serves beside its endpoints: a `ui`, routes of its own, a lifespan."""

import json
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness import JSON, Server, payload_bytes, post, request, run_command, wait_until

PULL = payload_bytes("pr_create_v3_docs")
SCRIPT = """
import asyncio
import hashlib
from contextlib import asynccontextmanager
from pathlib import Path
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse, StreamingResponse
from hfhooks import WebhookPayload, WebhooksServer

@asynccontextmanager
async def lifespan(app):
    app.state.model = "a model"
    yield {"tokenizer": "a tokenizer"}
    Path(__file__).with_name("left").touch()

app = WebhooksServer(lifespan=lifespan)

@app.add_webhook
async def push(request: Request):
    return [request.app.state.model, request.state.tokenizer]

@app.fastapi_app.get("/model")
async def model(request: Request):
    return [request.app.state.model, request.state.tokenizer]

@app.fastapi_app.post("/digest")
async def digest(request: Request):
    digest, size = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest(), "headers": dict(request.headers)}

@app.fastapi_app.post("/number")
async def number(value: int):
    return value

@app.fastapi_app.get("/slow")
async def slow():
    print("slow begins", flush=True)
    await asyncio.sleep(1)

@app.fastapi_app.get("/patient")
async def patient(request: Request):
    print("patient begins", flush=True)
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    print("the visitor has left", flush=True)

@app.fastapi_app.get("/ticks")
async def ticks():
    async def tick():
        for number in range(3):
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0.3)
    return StreamingResponse(tick(), media_type="text/event-stream")

@app.fastapi_app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text.upper())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("site") / "app.py"
    path.write_text(SCRIPT)
    with Server(path, env={"XDG_STATE_HOME": str(path.parent)}) as server:
        yield server
    assert path.with_name("left").exists(), "the lifespan was not left"


@pytest.fixture
def url(server: Server) -> str:
    return str(server.ready["local_url"])


def raw(url: str, data: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes the connection."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_handler_and_a_route_share_what_the_lifespan_has_made(server: Server, url: str) -> None:
    assert server.post("push", PULL).json() == ["a model", "a tokenizer"]
    assert request("GET", url + "/model").json() == ["a model", "a tokenizer"]


def test_without_a_page_of_its_own_the_landing_page_stays(url: str) -> None:
    assert b"/webhooks/push" in request("GET", url + "/").body


def test_what_neither_has_is_not_found_by_the_script(url: str) -> None:
    assert request("GET", url + "/nowhere").json() == {"detail": "Not Found"}
    assert post(url + "/webhooks/nowhere", PULL).json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    "target",
    [
        "/webhooks/push#x",
        "/webhooks/%2570ush",
        "/./webhooks/push",
    ],
)
def test_no_other_spelling_of_its_path_reaches_a_handler(url: str, target: str) -> None:
    head = f"POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n"
    answer = raw(url, f"{head}content-type: application/json\r\n\r\n{{}}".encode())
    assert answer.split()[1] in (b"400", b"404", b"307")


def test_health_stays_ours(url: str) -> None:
    for path in ("/healthz", "/readyz"):
        assert request("GET", url + path).json() == {"records": True, "runs": True, "why": []}


def test_an_endpoint_is_called_by_post_alone(url: str) -> None:
    assert request("GET", url + "/webhooks/push").status == 405


def test_a_route_answers_a_wrong_value_as_fastapi_does(url: str) -> None:
    answer = request("POST", url + "/number?value=x")
    assert (answer.status, answer.json()["detail"][0]["type"]) == (422, "int_parsing")


def test_a_body_for_a_route_may_have_any_size(url: str) -> None:
    answer = request("POST", url + "/digest", bytes(20_000_000)).json()
    assert answer["size"] == 20_000_000


def test_a_chunked_body_arrives(url: str) -> None:
    head = (
        b"POST /digest HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
    )
    answer = raw(url, head + b"\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["size"] == 7


def test_headers_that_are_ours_are_taken_from_nobody(url: str) -> None:
    sent = {"hfhooks-attempt": "{}", "x-mine": "1", "cookie": "a=b"}
    got = request("POST", url + "/digest", b"", sent).json()["headers"]
    assert got["x-mine"] == "1"
    assert got["cookie"] == "a=b"
    assert "hfhooks-attempt" not in got


def test_a_sender_that_expects_it_is_told_to_continue(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        head = b"POST /digest HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n"
        connection.sendall(head + b"connection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_head_request_has_no_body_and_the_connection_stays(url: str) -> None:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    for method, path, body in (
        ("HEAD", "/model", None),
        ("GET", "/model", None),
        ("POST", "/webhooks/push", PULL),
        ("GET", "/model", None),
    ):
        connection.request(method, path, body, JSON)
        response = connection.getresponse()
        response.read()
        sock = connection.sock
        assert response.status in (200, 405)
        assert sock is not None
    connection.close()


def test_pipelined_requests_are_answered_in_turn(url: str) -> None:
    one = b"GET /model HTTP/1.1\r\nhost: a\r\n\r\n"
    health = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    answers = raw(url, one + health + one + last)
    assert answers.count(b"a tokenizer") == 2
    order = [answers.index(text) for text in (b"a model", b"records", b"Not Found")]
    assert order == sorted(order)


@pytest.mark.parametrize("protocol", ["foo", "h2c", "websocket", "foo, websocket"])
def test_nothing_is_smuggled_behind_a_wish_for_another_protocol(
    server: Server, url: str, protocol: str
) -> None:
    smuggled = PULL.replace(b"openai-community/gpt2", b"somebody/smuggled")
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        head = f"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n"
        connection.sendall(head.encode() + b"\r\n")
        wait_until(lambda: "slow begins" in server.stderr or protocol == "websocket")
        length = f"content-length: {len(smuggled)}\r\n"
        inner = f"POST /webhooks/push HTTP/1.1\r\nhost: a\r\n{length}"
        connection.sendall(f"{inner}content-type: application/json\r\n\r\n".encode() + smuggled)
        answers = b""
        try:
            while data := connection.recv(65536):
                answers += data
        except ConnectionError:
            pass
    assert b"a tokenizer" not in answers
    assert "model:somebody/smuggled" not in [line["repo"] for line in server.deliveries]


def test_a_visitor_who_leaves_is_noticed(server: Server, url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(b"GET /patient HTTP/1.1\r\nhost: a\r\n\r\n")
        wait_until(lambda: "patient begins" in server.stderr)
    wait_until(lambda: "the visitor has left" in server.stderr)


def test_trailers_are_read_by_nobody_and_bounded(url: str) -> None:
    head = b"POST /digest HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
    start = head + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    answer = raw(url, start + b"host: evil\r\nx-trailer: 1\r\n\r\n")
    got = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (got["size"], got["headers"]["host"], "x-trailer" in got["headers"]) == (3, "a", False)
    assert raw(url, start + b"x: 1\r\n" * 2_000_000) == b""


def test_a_stream_comes_as_it_is_made(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(b"GET /ticks HTTP/1.1\r\nhost: a\r\n\r\n")
        seen = b""
        while b"data: 0" not in seen:
            seen += connection.recv(65536)
        assert b"data: 2" not in seen
        while not seen.endswith(b"0\r\n\r\n"):
            seen += connection.recv(65536)
    assert b"data: 2" in seen


def test_a_websocket_goes_through(url: str) -> None:
    client = pytest.importorskip("websockets.sync.client")
    with client.connect(url.replace("http", "ws") + "/echo") as echo:
        echo.send("hello")
        assert echo.recv() == "HELLO"
        echo.send("x" * 300_000)
        assert echo.recv() == "X" * 300_000


def test_a_websocket_that_nobody_takes_is_refused(url: str) -> None:
    client = pytest.importorskip("websockets.sync.client")
    exceptions = pytest.importorskip("websockets.exceptions")
    with pytest.raises(exceptions.InvalidStatus):
        client.connect(url.replace("http", "ws") + "/nowhere")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def serve(text: str, *options: str) -> Server:
        (tmp_path / "app.py").write_text(text)
        servers.append(Server(tmp_path / "app.py", *options))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


ASGI = """
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from hfhooks import WebhooksServer

@asynccontextmanager
async def lifespan(app):
    print("entered")
    yield {"opened": True}
    print("left")

ui = FastAPI(lifespan=lifespan)

@ui.get("/")
def home(request: Request):
    return {"opened": request.state.opened}

app = WebhooksServer(ui)

@app.add_webhook
def push():
    return "pushed"
"""


def test_any_asgi_application_may_be_the_ui_and_has_its_lifespan(
    serve: Callable[..., Server],
) -> None:
    server = serve(ASGI)
    assert request("GET", server.ready["local_url"] + "/").json() == {"opened": True}
    assert server.post("push", PULL).json() == "pushed"
    server.stop()
    assert [line for line in ("entered\n", "left\n") if line in server.errors] == [
        "entered\n",
        "left\n",
    ]


def test_a_ui_reloads_with_its_script(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(ASGI, "--reload")
    home = server.ready["local_url"] + "/"
    (tmp_path / "app.py").write_text(ASGI.replace('{"opened": request', '{"newer": request'))
    wait_until(lambda: request("GET", home).json() == {"newer": True})


def test_while_there_is_no_worker_a_visitor_is_told_to_come_again(
    serve: Callable[..., Server],
) -> None:
    die = "\n@ui.get('/die')\ndef die():\n    import os\n    os._exit(1)\n"
    server = serve(ASGI + die)
    url = server.ready["local_url"]
    assert request("GET", url + "/die").json() == {"error": "unavailable"}
    wait_until(lambda: request("GET", url + "/").status == 200)


def test_a_lifespan_that_fails_is_the_scripts_failure(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(ASGI.replace('    print("entered")', "    open('/no/model')"))
    path.write_text(
        "from contextlib import asynccontextmanager\nfrom hfhooks import WebhooksServer\n"
        "@asynccontextmanager\nasync def lifespan(app):\n    open('/no/model')\n    yield\n"
        "app = WebhooksServer(lifespan=lifespan)\n@app.add_webhook\ndef a(): ...\n"
    )
    result = run_command("serve", str(path), "--port", "0")
    assert result.returncode == 3
    assert f"{path}:5: FileNotFoundError" in result.stderr.replace("app.py:5", f"{path}:5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("WebhooksServer(ui=5)", "ui=...) takes Gradio's Blocks or an ASGI application, not 5."),
        ("WebhooksServer(print)\nWebhooksServer(print)", "two WebhooksServer have a ui"),
    ],
)
def test_what_cannot_be_served_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(
        "from hfhooks import WebhooksServer, webhook_endpoint\n"
        f"{text}\n@webhook_endpoint\ndef a(): ...\n"
    )
    result = run_command("serve", str(path), "--port", "0")
    assert (result.returncode, said in result.stderr) == (3, True), result.stderr


LATE = """
from fastapi import BackgroundTasks
from hfhooks import webhook_endpoint

def build(name):
    raise RuntimeError(f"cannot build {name}")

@webhook_endpoint
def ci(tasks: BackgroundTasks):
    tasks.add_task(build, "it")
    return {"started": True}
"""


def test_a_background_task_that_fails_makes_its_delivery_fail(
    serve: Callable[..., Server],
) -> None:
    server = serve(LATE)
    assert server.post("ci", PULL).json() == {"started": True}
    first, second = wait_until(lambda: len(server.deliveries) == 2 and server.deliveries)
    assert (first["status"], second["status"]) == ("succeeded", "failed")
    assert (first["id"], first["attempt"]) == (second["id"], second["attempt"])
    wait_until(lambda: "RuntimeError: cannot build it" in server.stderr)
    assert server.stop() == 0


def test_a_background_task_that_fails_while_the_server_stops_is_recorded(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    slow = LATE.replace("    raise", "    import time; time.sleep(1)\n    raise")
    server = serve(slow)
    assert server.post("ci", PULL).status == 200
    assert server.stop() == 0
    assert [event["status"] for event in server.deliveries] == ["succeeded", "failed"]


def test_a_page_whose_protection_another_file_has_and_does_not_run_is_not_served(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    page = "from hfhooks import WebhooksServer\napp = WebhooksServer(ui=lambda *_: None)\n"
    (tmp_path / "pages.py").write_text(page)
    script = tmp_path / "app.py"
    script.write_text(
        "from pages import app\n"
        "app.add_webhook(print)\n"
        "if __name__ == '__main__':\n"
        "    app.launch(auth=('me', 'password'))\n"
    )
    server = start(script)
    assert server.process.wait(timeout=30) == 3
    wait_until(lambda: "app.py:4: launch(auth=...) is not called" in server.stderr)
