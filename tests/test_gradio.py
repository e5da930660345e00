"""A real Gradio page, served through the gateway and used in a real browser."""

import inspect
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hfhooks.script.page import ORDER
from tests.harness import PAYLOADS, Server, request, wait_until

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


PAGE = """
import gradio as gr
from hfhooks import WebhooksServer

with gr.Blocks() as ui:
    gr.Markdown("For some eyes only")
    files = [gr.File({allowed!r}), gr.File({blocked!r})]

app = WebhooksServer(ui=ui)

@app.add_webhook
def push(payload: dict):
    return "pushed"

"""
PROTECTED = """
app.launch(
    share=True,
    auth=("me", "password"),
    auth_message="Who goes there?",
    allowed_paths=[{folder!r}],
    blocked_paths=[{blocked!r}],
    max_file_size="1kb",
    css=".own {{ color: red }}",
    head="<meta name=of-the-script>",
    js="() => {{ document.title = 'by the script' }}",
    theme="soft",
    root_path="/behind/a/proxy",
    ssr_mode=False,
)
"""
BY_DEPENDENCY = """
app.launch(auth_dependency=lambda request: request.headers.get("x-user"))
"""
GUARDED = """
if __name__ == "__main__":
    app.launch(auth=("me", "password"))
"""
LOGIN = b"username=me&password=password"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def paged(start: Any, tmp_path: Path) -> Callable[[str], Server]:
    """Serves a page whose `launch` is given."""
    (tmp_path / "open").mkdir()
    words = {"folder": str(tmp_path / "open")}
    for name in ("allowed", "blocked"):
        (tmp_path / "open" / name).write_text(f"what is {name}")
        words[name] = str(tmp_path / "open" / name)

    def serve(launch: str) -> Server:
        (tmp_path / "app.py").write_text((PAGE + launch).format_map(words))
        server: Server = start(tmp_path / "app.py", env=QUIET)
        return server

    return serve


def upload(server: Server, size: int, headers: dict[str, str]) -> int:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    body += bytes(size) + b"\r\n--x--\r\n"
    headers = headers | {"content-type": "multipart/form-data; boundary=x"}
    url = server.ready["local_url"] + "/gradio_api/upload"
    return request("POST", url, body, headers).status


def test_what_launch_is_given_protects_the_page(
    paged: Callable[[str], Server], tmp_path: Path
) -> None:
    server = paged(PROTECTED)
    url = server.ready["local_url"]
    refused = request("GET", url + "/config")
    assert refused.status == 401 and b"some eyes" not in refused.body
    assert request("POST", url + "/login", LOGIN + b"x", FORM).status == 400
    cookies = request("POST", url + "/login", LOGIN, FORM).headers.get_all("set-cookie") or []
    known = {"cookie": "; ".join(cookie.partition(";")[0] for cookie in cookies)}
    shown = request("GET", url + "/config", headers=known)
    assert shown.status == 200 and b"some eyes" in shown.body
    assert b"/behind/a/proxy" in shown.body
    page = request("GET", url + "/", headers=known).body
    assert b"of-the-script" in page and b".own { color: red }" in page
    assert [upload(server, size, known) for size in (10, 5000)] == [200, 413]
    assert upload(server, 10, {}) == 401
    files = [f"{url}/gradio_api/file={tmp_path}/open/{name}" for name in ("allowed", "blocked")]
    assert [request("GET", file, headers=known).status for file in files] == [200, 403]
    assert "launch(share=...): this means nothing here" in server.stderr
    assert server.post("push", PAYLOADS[0].read_bytes()).json() == "pushed"


def test_a_page_with_a_password_asks_for_it_in_a_browser(paged: Callable[[str], Server]) -> None:
    server = paged(PROTECTED.replace('root_path="/behind/a/proxy",', ""))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.goto(server.ready["local_url"])
        page.get_by_text("Who goes there?").wait_for()
        assert page.get_by_text("some eyes").count() == 0
        page.get_by_label("username").fill("me")
        page.get_by_label("password").fill("password")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("some eyes").wait_for()
        sync_api.expect(page).to_have_title("by the script", timeout=30_000)
        browser.close()


def test_a_page_that_asks_somebody_else_who_comes_is_closed(
    paged: Callable[[str], Server],
) -> None:
    url = paged(BY_DEPENDENCY).ready["local_url"] + "/config"
    assert request("GET", url).status == 401
    assert request("GET", url, headers={"x-user": "me"}).status == 200


def test_a_page_whose_protection_would_not_run_is_not_served(
    paged: Callable[[str], Server],
) -> None:
    server = paged(GUARDED)
    assert server.process.wait(timeout=60) == 3
    wait_until(lambda: "launch(auth=...) is not called" in server.stderr)


OLDER = """
import gradio
newest = gradio.mount_gradio_app

def mount_gradio_app(app, blocks, path, auth=None, ssr_mode=None):
    return newest(app, blocks, path, auth=auth, ssr_mode=ssr_mode)

gradio.mount_gradio_app = mount_gradio_app
"""


def test_what_an_older_gradio_cannot_be_mounted_with_is_no_page(
    paged: Callable[[str], Server],
) -> None:
    server = paged(OLDER + PROTECTED)
    assert server.process.wait(timeout=60) == 3
    wait_until(lambda: "launch(allowed_paths=...) protects nothing here" in server.stderr)
    assert "A newer Gradio" in server.stderr


def test_gradios_launch_has_its_arguments_in_the_order_that_we_know() -> None:
    import gradio

    parameters = list(inspect.signature(gradio.Blocks.launch).parameters)
    assert parameters[1 : len(ORDER) + 1] == list(ORDER)


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
