"""`python app.py`, as the guide says it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.harness import payload_bytes, post, run_command, wait_until

PULL = payload_bytes("pr_create_v3_docs")
APP = """
from hfhooks import webhook_endpoint, WebhookPayload

@webhook_endpoint
def train(payload: WebhookPayload):
    return __name__

print("the script has run")
"""
CTRL_C = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # one of a background job is deaf to it
os.kill(os.getpid(), signal.SIGINT)
"""


ROOT = Path(__file__).parents[1]


def pythons() -> Iterator[str]:
    """Yield this Python, and those that `make pythons` has found."""
    yield sys.executable
    yield from sorted(map(str, ROOT.glob(".venv/python3.*/bin/python")))


class Script:
    """A script that Python runs, in a process of its own."""

    def __init__(
        self, *arguments: str | Path, python: str = sys.executable, **options: Any
    ) -> None:
        env = os.environ | {"HFHOOKS_PORT": "0", "PYTHONUNBUFFERED": "1"}
        env.pop("PYTEST_CURRENT_TEST", None)  # this is no test of the script
        env.pop("COVERAGE_PROCESS_CONFIG", None)  # others are measured
        self.process = subprocess.Popen(
            [python, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            text=True,
            **options,
        )

    def url(self) -> str:
        """Return the URL of its only endpoint, once it is served."""
        found = run_command("print-urls", "--wait", "30", "--local")
        assert found.stdout, self.end(signal.SIGKILL)
        return found.stdout.strip()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out + err


@pytest.fixture
def run() -> Iterator[Callable[..., Script]]:
    scripts: list[Script] = []

    def run_script(*arguments: Any, **options: Any) -> Script:
        scripts.append(Script(*arguments, **options))
        return scripts[-1]

    yield run_script
    for script in scripts:
        if script.process.poll() is None:
            script.process.kill()
        script.process.communicate()


@pytest.mark.parametrize("python", [*pythons()])
def test_a_script_serves_when_it_has_come_to_its_end(
    run: Callable[..., Script], script: Callable[..., Path], python: str
) -> None:
    running = run(script(APP), python=python)
    pid = running.process.pid
    answer = post(running.url(), PULL)
    assert (answer.status, answer.json()) == (200, "app")
    assert running.process.pid == pid
    code, said = running.end(signal.SIGINT)
    assert code == 130
    assert said.count("the script has run") == 2  # by Python, and by the worker
    assert "Traceback" not in said


def test_a_module_of_a_package_does_too(
    run: Callable[..., Script], script: Callable[..., Path], tmp_path: Path
) -> None:
    script("", "bots/__init__.py")
    script("NAME = 'a sibling'\n", "bots/names.py")
    text = "from bots.names import NAME\n" + APP.replace("__name__", "NAME")
    script(text, "bots/app.py")
    running = run("-m", "bots.app", cwd=tmp_path)
    assert post(running.url(), PULL).json() == "a sibling"
    assert running.end()[0] == 0


@pytest.mark.parametrize("python", [*pythons()])
@pytest.mark.parametrize(
    "end",
    [
        "train.run()",
        "train.launch(share=True)",
        "if __name__ == '__main__':\n    train.run()",
        "import sys\nif __name__ == '__main__':\n    sys.exit(0)",
        "import sys\ntry:\n    sys.exit(3)\nexcept SystemExit:\n    pass",
        "import os, sys\nif __name__ == '__main__' and os.fork() == 0:\n    sys.exit(0)",
    ],
)
def test_however_it_comes_to_its_end(
    run: Callable[..., Script], script: Callable[..., Path], end: str, python: str
) -> None:
    running = run(script(f"{APP}\n{end}\n"), python=python)
    assert post(running.url(), PULL).status == 200
    code, said = running.end()
    assert (code, "Traceback" in said) == (0, False)


@pytest.mark.parametrize("python", [*pythons()])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("raise ValueError('no')", 1),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('no')", 1),
        (CTRL_C, -signal.SIGINT),
        ("import os; os._exit(4)", 4),
        ("raise SystemExit(3)", 3),
        ("exit(3)", 3),
    ],
)
def test_a_script_that_ends_badly_is_not_served(
    run: Callable[..., Script], script: Callable[..., Path], end: str, code: int, python: str
) -> None:
    running = run(script(f"{APP}\n{end}\n"), python=python)
    out, err = running.process.communicate(timeout=30)
    assert running.process.returncode == code
    assert out == "the script has run\n"
    assert "Running on" not in err


@pytest.mark.parametrize(
    "text",
    [
        "import app",
        "import runpy, sys\nsys.path.insert(0, '.')\nrunpy.run_path('app.py')",
        "exec(open('app.py').read(), {'__name__': 'other'})",
        "import multiprocessing\nimport app\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.get_context('spawn').Process(target=print, args=('child',)).start()",
    ],
    ids=["imported", "runpy", "exec", "spawned"],
)
def test_a_script_that_another_one_runs_is_not_served(
    run: Callable[..., Script], script: Callable[..., Path], tmp_path: Path, text: str
) -> None:
    script(APP)
    running = run(script(text, "main.py"), cwd=tmp_path)
    _, err = running.process.communicate(timeout=30)
    assert (running.process.returncode, err) == (0, "")


def test_tests_of_a_script_do_not_serve_it(
    run: Callable[..., Script], script: Callable[..., Path], tmp_path: Path
) -> None:
    script(APP)
    script(
        "from app import train\n\ndef test_train():\n    assert train(None) == 'app'\n", "test_a.py"
    )
    running = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_a.py", cwd=tmp_path)
    out, _ = running.process.communicate(timeout=60)
    assert (running.process.returncode, "1 passed" in out) == (0, True)


def test_without_a_script_there_is_nothing_to_serve(run: Callable[..., Script]) -> None:
    text = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): ...\n"
    running = run("-c", text)
    assert running.process.communicate(timeout=30) == ("", "")
    running = run("-c", text + "a.run()")
    _, err = running.process.communicate(timeout=30)
    assert "there is no script that could be served.\nhelp: Write it to a file" in err


def test_a_script_that_ends_by_system_exit_is_told_how_to_serve_it(
    run: Callable[..., Script], script: Callable[..., Path]
) -> None:
    path = script(f"{APP}\nraise SystemExit(0)\n")
    running = run(path)
    _, err = running.process.communicate(timeout=30)
    said = f"{path} has ended by SystemExit, and is not served."
    assert err == f"{said} To serve it: hfhooks serve {path}\n"


def test_its_own_arguments_reach_the_served_script(
    run: Callable[..., Script], script: Callable[..., Path]
) -> None:
    text = APP.replace("return __name__", "return sys.argv[1:]")
    running = run(script(f"import sys\n{text}"), "--model", "a b")
    assert post(running.url(), PULL).json() == ["--model", "a b"]


def test_a_module_may_run_what_it_declares(
    run: Callable[..., Script], script: Callable[..., Path], tmp_path: Path
) -> None:
    script("", "bots/__init__.py")
    script(f"{APP}\ndef main():\n    train.run()\n", "bots/server.py")
    running = run(script("from bots.server import main\nmain()\n"), cwd=tmp_path)
    assert post(running.url(), PULL).json() == "bots.server"


def test_a_folder_may_be_run(
    run: Callable[..., Script], script: Callable[..., Path], tmp_path: Path
) -> None:
    script(APP, "bot/__main__.py")
    assert post(run("bot", cwd=tmp_path).url(), PULL).status == 200


SERVED_BY_UVICORN = """
import uvicorn
from hfhooks import WebhooksServer

app = WebhooksServer()

@app.add_webhook
def train(payload): return "by uvicorn"

if __name__ == "__main__":
    uvicorn.run({app}, port={port}, log_level="error"{more})
"""


@pytest.mark.parametrize(
    ("app", "more"), [("app", ""), ("'app:app'", ""), ("'app:app'", ", reload=True")]
)
def test_a_script_that_serves_itself_is_not_served_again(
    run: Callable[..., Script], script: Callable[..., Path], tmp_path: Path, app: str, more: str
) -> None:
    port = free_port()
    path = script(SERVED_BY_UVICORN.format(app=app, port=port, more=more))
    running = run(path, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}/webhooks/train"

    def answer() -> Any:
        with suppress(OSError):
            return post(url, PULL)

    assert wait_until(answer, timeout=30).json() == "by uvicorn"
    code, said = running.end(signal.SIGINT)
    assert code in (0, 130, -signal.SIGINT)
    assert "Running on local URL" not in said


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_a_script_is_enough_of_a_command(script: Callable[..., Path]) -> None:
    running = Script("-m", "hfhooks", script(APP))
    try:
        wait_until(lambda: running.url())
        assert post(running.url(), PULL).status == 200
    finally:
        assert running.end()[0] == 0
