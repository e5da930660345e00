"""Notebooks: a real Jupyter kernel runs cells, and real requests come in."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import indent
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.harness import PAYLOADS, payload_bytes, post, request, wait_until
from tests.zygote import Forked, Zygote

PULL = payload_bytes("pr_create_v3_docs")
NEW = [path for path in PAYLOADS if not path.stem.startswith("v2_")]
HELLO = """
from hfhooks import WebhookPayload, webhook_endpoint

@webhook_endpoint
def hello(payload: WebhookPayload):
    print("hello from", payload.repo.name)
    return {"version": 1}
"""
URL = "from hfhooks.serving.owner import find_server\nprint(find_server().local_url)"


UNTIL = """
import contextlib, sys, threading, time

@contextlib.contextmanager
def until(words):
    written, write = [], sys.stdout.write
    sys.stdout.write = lambda text: (write(text), written.append(text))[0]
    yield
    while words not in "".join(written):
        time.sleep(0.01)
    sys.stdout.flush()
"""
"""What is printed while no cell runs belongs to one before: a cell has to wait for it."""


class ForkedKernel(Forked):
    """A kernel that has imported what its notebook will."""

    zygote = Zygote("hfhooks.serving.notebook", "ipykernel.kernelapp")


class Kernel:
    """A notebook whose cells run when they are given."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> Any:
        """Run a cell and return it, with its outputs as they are then."""
        cell = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call] # it has few
        self._client.nb.cells.append(cell)
        return self._client.execute_cell(cell, len(self._client.nb.cells) - 1)

    @property
    def url(self) -> str:
        return printed(self.run(URL)).strip()


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def shown(cell: Any, kind: str = "text/plain") -> str:
    return "".join(output.data[kind] for output in cell.outputs if "data" in output)


def error(cell: Any) -> str:
    return "".join(output.evalue for output in cell.outputs if output.output_type == "error")


@pytest.fixture
def kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Any = ForkedKernel
) -> Iterator[Kernel]:
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HFHOOKS_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HFHOOKS_PORT", "0")
    monkeypatch.setattr("jupyter_client.launcher.Popen", start)
    client = NotebookClient(
        nbformat.v4.new_notebook(),  # type: ignore[no-untyped-call] # it has few
        timeout=60,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    with client.setup_kernel():
        yield Kernel(client)


def test_define_run_post_redefine_post_stop(kernel: Kernel) -> None:
    kernel.run(HELLO)
    links = shown(kernel.run("hello.run()"), "text/html")
    url = kernel.url
    assert f'<a href="{url}/webhooks/hello"' in links
    assert post(url + "/webhooks/hello", PULL).json() == {"version": 1}
    assert error(kernel.run(HELLO.replace("1}", "2}"))) == ""
    assert post(url + "/webhooks/hello", PULL).json() == {"version": 2}
    assert "Stopped." in printed(kernel.run("hello.stop()"))
    with pytest.raises(ConnectionRefusedError):
        post(url + "/webhooks/hello", PULL)


def test_the_pyproject_of_its_folder_counts_and_is_said(kernel: Kernel, tmp_path: Path) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text('[tool.hfhooks]\njournal = "sqlite:///hooks.db"\n')
    assert f"note: {pyproject} says journal = 'sqlite:///hooks.db'." in printed(
        kernel.run(HELLO + "\nhello.run()")
    )
    kernel.run("hello.stop()")
    pyproject.chmod(0o666)
    assert f"note: {pyproject} is ignored: everybody may write" in printed(
        kernel.run("hello.run()")
    )


@pytest.mark.parametrize("path", NEW, ids=lambda path: path.stem)
def test_every_payload_is_handled(path: Path, served: str) -> None:
    answer = post(served + "/webhooks/hello", path.read_bytes())
    assert answer.json() == {"version": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("notebook")
        make: Callable[..., Iterator[Kernel]] = kernel.__wrapped__  # type: ignore[attr-defined]
        kernels = make(folder, monkeypatch, subprocess.Popen)
        each = next(kernels)
        each.run(HELLO + "\nhello.run()")
        yield each.url
        next(kernels, None)


def test_what_a_handler_prints_reaches_the_notebook(kernel: Kernel) -> None:
    handler = HELLO.replace("    print(", "    go.wait(60)\n    print(")
    kernel.run(f"{UNTIL}\ngo = threading.Event()\n{handler}\nhello.run()")
    sending = threading.Thread(target=post, args=(kernel.url + "/webhooks/hello", PULL))
    sending.start()
    waiting = kernel.run("with until('hello from'):\n    go.set()")
    sending.join()
    assert "hello from" in printed(waiting)


def test_the_kernels_event_loop_is_free_and_its_own(kernel: Kernel) -> None:
    kernel.run("import asyncio\nticks = []\nbefore = asyncio.get_running_loop()")
    kernel.run("async def tick():\n  while True:\n    ticks.append(1); await asyncio.sleep(0.01)")
    kernel.run("ticking = asyncio.ensure_future(tick())")
    kernel.run(HELLO + "\nhello.run()")
    assert printed(kernel.run("print(before is asyncio.get_running_loop())")) == "True\n"
    more = "seen = len(ticks)\nwhile len(ticks) == seen:\n    await asyncio.sleep(0.01)\n"
    assert printed(kernel.run(f"{more}print('goes on')")) == "goes on\n"


def test_launch_takes_what_gradio_takes_and_says_that_it_means_nothing(kernel: Kernel) -> None:
    cell = kernel.run(HELLO + "\nhello.launch(share=True, debug=True)")
    assert "launch(share=..., debug=...): this means nothing here" in printed(cell)
    assert "/webhooks/hello" in shown(cell)


def test_an_endpoint_may_be_added_while_the_server_runs(kernel: Kernel) -> None:
    kernel.run(HELLO + "\nhello.run()")
    kernel.run("@webhook_endpoint('/more')\nasync def another(payload: dict):\n    return 'more'")
    url = kernel.url
    assert post(url + "/webhooks/more", PULL).json() == "more"
    assert "/webhooks/more" in shown(kernel.run("hello.run()"))


def test_a_wrong_handler_is_refused_in_its_cell_and_the_old_one_stays(kernel: Kernel) -> None:
    kernel.run(HELLO + "\nhello.run()")
    cell = kernel.run("@webhook_endpoint\ndef hello(*args): ...")
    assert "cannot be given by name" in error(cell)
    assert post(kernel.url + "/webhooks/hello", PULL).json() == {"version": 1}


def test_what_raised_is_tried_again_with_the_new_version(kernel: Kernel) -> None:
    handler = HELLO.replace("return", "go.wait(60)\n    1 / 0\n    return")
    kernel.run(f"{UNTIL}\ngo = threading.Event()\n{handler}\nhello.run()")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(post, kernel.url + "/webhooks/hello", PULL)
        assert "again in" in printed(kernel.run("with until('again in'):\n    go.set()"))
        assert sending.result().json()["status"] in ("retrying", "queued")
    cell = kernel.run("with until('hello from'):" + indent(HELLO, "    "))
    assert "a delivery retried with the new code" in printed(cell)
    assert "hello from" in printed(cell)


def test_a_server_object_with_a_lifespan_and_a_page(kernel: Kernel) -> None:
    source = """
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from hfhooks import WebhooksServer

@asynccontextmanager
async def lifespan(app):
    yield {"model": "NUMBER"}

ui = FastAPI()

@ui.get("/")
def home(request: Request):
    return request.state.model

app = WebhooksServer(ui, lifespan=lifespan)

@app.add_webhook
async def hello(request: Request):
    return request.state.model

app.run()
"""
    kernel.run(source.replace("NUMBER", "1"))
    url = kernel.url
    assert request("GET", url + "/").json() == "1"
    assert post(url + "/webhooks/hello", PULL).json() == "1"
    assert error(kernel.run(source.replace("NUMBER", "2"))) == ""
    assert request("GET", url + "/").json() == "2"
    assert post(url + "/webhooks/hello", PULL).json() == "2"
    assert "Stopped." in printed(kernel.run("app.stop()"))


def test_a_lifespan_may_block_its_loop(kernel: Kernel) -> None:
    source = """
import time
from contextlib import asynccontextmanager
from hfhooks import WebhooksServer

@asynccontextmanager
async def lifespan(app):
    time.sleep(1)
    yield

app = WebhooksServer(lifespan=lifespan)

@app.add_webhook
async def hello():
    return "hello"

app.run()
"""
    assert error(kernel.run(source)) == ""
    assert post(kernel.url + "/webhooks/hello", PULL).json() == "hello"


def test_a_handler_that_blocks_can_be_replaced(kernel: Kernel) -> None:
    blocking = "@webhook_endpoint\nasync def hello():\n    import time; time.sleep(20)"
    kernel.run("import os; os.environ['HFHOOKS_WAIT'] = '0.1'\n" + HELLO)
    kernel.run(f"{blocking}\nhello.run()")
    url = kernel.url
    assert post(url + "/webhooks/hello", PULL).status == 202
    started = time.monotonic()
    kernel.run(HELLO)
    wait_until(lambda: post(url + "/webhooks/hello", PULL).status == 200, timeout=15)
    assert time.monotonic() - started < 15


def test_run_again_takes_up_what_was_added_since(kernel: Kernel) -> None:
    kernel.run("from hfhooks import *\n@webhook_endpoint\ndef a(payload): ...\na.run()")
    for answer in ("first", "second"):
        cell = kernel.run(
            "app = WebhooksServer()\n@app.add_webhook\ndef b(payload): ...\n"
            f"@app.fastapi_app.get('/route')\ndef route(): return {answer!r}\napp.run()"
        )
        assert not error(cell)
        assert request("GET", f"{kernel.url}/route").json() == answer


AT_A_PROMPT = """
from hfhooks import webhook_endpoint
@webhook_endpoint
def a(payload): return 1

a.run()
input("go on\\n")
a.stop()
"""


def test_two_prompts_in_one_folder_serve_both(tmp_path: Path) -> None:
    env = os.environ | {"HFHOOKS_PORT": "0", "PYTHONUNBUFFERED": "1"}
    prompts = []
    for _ in range(2):
        prompt = subprocess.Popen(
            [sys.executable, "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=tmp_path,
            text=True,
        )
        assert prompt.stdin and prompt.stdout
        prompt.stdin.write(AT_A_PROMPT)
        prompt.stdin.flush()
        prompts.append(prompt)
        said = "".join(iter(prompt.stdout.readline, "go on\n"))
        assert "POST http://127.0.0.1:" in said and "text/html" not in said
    for prompt in prompts:
        prompt.communicate("\n", timeout=30)
        assert prompt.returncode == 0


def test_what_cannot_start_is_raised_in_the_cell(kernel: Kernel) -> None:
    kernel.run(HELLO)
    kernel.run("import os, socket; taken = socket.create_server(('127.0.0.1', 0))")
    kernel.run("os.environ['HFHOOKS_PORT'] = str(taken.getsockname()[1])")
    assert "is in use" in error(kernel.run("hello.run()"))
    kernel.run("os.environ['HFHOOKS_PORT'] = '0'")
    assert error(kernel.run("hello.run()")) == ""


def test_a_second_notebook_takes_another_port(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.run("import os, socket; del os.environ['HFHOOKS_PORT']")
    taken = "taken = socket.create_server(('127.0.0.1', 7860))"
    kernel.run(f"try:\n    {taken}\nexcept OSError: pass  # another test has it")
    assert error(kernel.run(HELLO + "\nhello.run()")) == ""
    assert not kernel.url.endswith(":7860")


def test_a_kernel_that_ends_stops_its_server(tmp_path: Path) -> None:
    code = HELLO + "\nhello.run()\n"
    result = subprocess.run(
        [sys.executable, "-i", "-q"], input=code, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "/webhooks/hello" in result.stdout
    assert result.stdout.rstrip().endswith("Stopped.")
