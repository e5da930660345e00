"""A real Gradio page, served through the gateway and used in a real browser."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PAYLOADS, Server, request

if find_spec("gradio") is None:  # importing it takes seconds, in every process of the tests
    pytest.skip("gradio is not installed", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SCRIPT = """
import time
import gradio as gr
from hfhooks import WebhookPayload, WebhooksServer

seen = []

def greet(name):
    return f"Hello {name}, {len(seen)} seen"

def count():
    before = len(seen)
    yield "waiting for one more"
    while len(seen) == before:
        time.sleep(0.01)
    yield "counted"

with gr.Blocks() as ui:
    name, greeting = gr.Textbox(label="name"), gr.Textbox(label="greeting")
    gr.Button("Greet").click(greet, name, greeting)
    steps = gr.Textbox(label="steps")
    gr.Button("Count").click(count, None, steps)
    upload, size = gr.File(label="file"), gr.Textbox(label="size")
    upload.upload(lambda file: f"{len(open(file, 'rb').read())} bytes", upload, size)

app = WebhooksServer(ui=ui)

@app.add_webhook
def push(payload: WebhookPayload):
    seen.append(payload.repo.name)
    return {"seen": len(seen)}

app.launch(share=True)
"""


QUIET = {"GRADIO_ANALYTICS_ENABLED": "False"}
GUIDE = """
import gradio as gr
from huggingface_hub import WebhooksServer, WebhookPayload

# 1. Define  UI
with gr.Blocks() as ui:
    gr.Markdown("A page of one's own")

# 2. Create WebhooksServer with custom UI and secret
app = WebhooksServer(ui=ui, webhook_secret="my_secret_key")

# 3. Register webhook with explicit name
@app.add_webhook("/say_hello")
async def hello(payload: WebhookPayload):
    return {"message": "hello"}

# 4. Register webhook with implicit name
@app.add_webhook
async def goodbye(payload: WebhookPayload):
    return {"message": "goodbye"}

# 5. Start server (optional)
app.run()
"""
"""As the guide has it, but for the dots that stand for a page."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("gradio") / "app.py"
    path.write_text(SCRIPT)
    with Server(path, env=QUIET | {"XDG_STATE_HOME": str(path.parent)}) as server:
        yield server


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.goto(server.ready["local_url"])
        yield page
        browser.close()


def shows(page: Any, label: str, text: str) -> None:
    sync_api.expect(page.get_by_label(label)).to_have_value(text, timeout=30_000)


def test_a_button_calls_its_function_and_a_webhook_works_meanwhile(
    server: Server, page: Any
) -> None:
    page.get_by_label("name").fill("Ada")
    assert server.post("push", PAYLOADS[0].read_bytes()).json() == {"seen": 1}
    page.get_by_role("button", name="Greet").click()
    shows(page, "greeting", "Hello Ada, 1 seen")


def test_what_a_function_yields_is_streamed(server: Server, page: Any) -> None:
    page.get_by_role("button", name="Count").click()
    shows(page, "steps", "waiting for one more")
    assert server.post("push", PAYLOADS[0].read_bytes()).status == 200
    shows(page, "steps", "counted")


def test_a_file_may_be_larger_than_a_payload(page: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(5_000_000))
    page.locator("input[type=file]").set_input_files(large)
    shows(page, "size", "5000000 bytes")


def test_ctrl_c_does_not_wait_for_an_open_page(own_server: Callable[[], Server]) -> None:
    server = own_server()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(server.ready["local_url"])
        page.get_by_role("button", name="Greet").wait_for()
        assert server.stop() == 0
        browser.close()
    assert "still running" not in server.said


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_the_guides_own_server_is_served_as_it_is(path: Path, guide: Server) -> None:
    secret = {"x_webhook_secret": "my_secret_key"}
    answer = guide.post("say_hello", path.read_bytes(), **secret)
    assert answer.status == 200
    assert answer.json() in (
        {"message": "hello"},
        {"id": answer.json().get("id"), "status": "failed"},
    )
    assert guide.post("goodbye", path.read_bytes()).status == 401


def test_its_page_needs_no_secret(guide: Server) -> None:
    assert b"A page of one" in request("GET", guide.ready["local_url"] + "/config").body


PROTECTED = """
import gradio as gr
from hfhooks import WebhooksServer

with gr.Blocks() as ui:
    gr.Markdown("For some eyes only")

app = WebhooksServer()
gr.mount_gradio_app(app.fastapi_app, ui, "/", auth=("me", "password"))

@app.add_webhook
def push(payload: dict):
    return "pushed"
"""


def test_a_page_with_a_password_is_mounted_as_the_error_says(start: Any, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROTECTED)
    server = start(tmp_path / "app.py", env=QUIET)
    answer = request("GET", server.ready["local_url"] + "/config")
    assert answer.status == 401 and b"some eyes" not in answer.body
    assert server.post("push", PAYLOADS[0].read_bytes()).json() == "pushed"


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("guide") / "app.py"
    path.write_text(GUIDE)
    with Server(path, env=QUIET | {"XDG_STATE_HOME": str(path.parent)}) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def serve() -> Server:
        (tmp_path / "app.py").write_text(SCRIPT)
        servers.append(Server(tmp_path / "app.py"))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()
