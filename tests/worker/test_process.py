"""The worker as a process: real pipes, real signals, a real socket."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hfhooks.worker.loading import find_targets
from hfhooks.worker.spawn import WorkerProcess
from tests.harness import wait_until
from tests.zygote import Forked

Script = Callable[..., Path]
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"


def end(worker: WorkerProcess) -> None:
    worker.close()
    list(worker.reports())


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """A worker that is forked; tests that make their own start Python."""
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", Forked)
        worker = WorkerProcess()
    yield worker
    end(worker)


@pytest.fixture
def load(worker: WorkerProcess, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that loads a script and gives the worker's report."""

    def load(path: Path, over: str | None = str(tmp_path / "run" / "w.sock")) -> dict[str, Any]:
        if over:
            Path(over).parent.mkdir(exist_ok=True)
        targets = [asdict(target) for target in find_targets([str(path)])]
        worker.send(type="load", targets=targets, socket=over, token="t0ken")
        return next(worker.reports())

    return load


def report_of(worker: WorkerProcess, kind: str, path: Path) -> dict[str, Any]:
    """Tell the worker to load or preload a script, and return what it says to it."""
    targets = [asdict(target) for target in find_targets([str(path)])]
    worker.send(type=kind, targets=targets, socket=None, token="t")
    return next(worker.reports())


def exchange(sock: socket.socket, *headers: str) -> bytes:
    lines = ["POST /webhooks/a HTTP/1.1", "host: w", "content-length: 0", "connection: close"]
    sock.sendall("\r\n".join([*lines, *headers, "\r\n"]).encode())
    answer = b""
    while chunk := sock.recv(65536):
        answer += chunk
    return answer


def test_it_reports_its_endpoints_and_answers_on_a_unix_socket(
    load: Any, script: Script, tmp_path: Path
) -> None:
    report = load(script(HANDLER))
    assert (report["type"], report["port"]) == ("ready", None)
    assert [row["name"] for row in report["endpoints"]] == ["a"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "run" / "w.sock"))
        assert exchange(sock).endswith(b'\r\n\r\n"a"')


def test_on_a_port_only_the_token_lets_in(load: Any, script: Script) -> None:
    report = load(script(HANDLER), over=None)
    for headers, status in (((), b"401"), (("hfhooks-token: t0ken",), b"200")):
        with socket.create_connection(("127.0.0.1", report["port"])) as sock:
            assert exchange(sock, *headers).split()[1] == status


def test_a_script_that_fails_is_reported_in_words(
    worker: WorkerProcess, load: Any, script: Script
) -> None:
    path = script("\n1 / 0")
    assert load(path) == {
        "type": "failed",
        "message": f"{path}:2: ZeroDivisionError: division by zero",
        "help": None,
        "file": str(path),
        "line": 2,
        "exit_code": 3,
        "traceback": [],
        "files": [str(path)],
    }
    assert worker.wait(10) == 3


def test_the_script_sees_an_empty_stdin_and_its_own_name(load: Any, script: Script) -> None:
    text = "import sys\nassert sys.stdin.read() == ''\nassert sys.argv == [__file__]\n"
    assert load(script(text + HANDLER))["type"] == "ready"


def test_what_the_script_prints_goes_to_stderr_at_once(
    script: Script, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    worker = WorkerProcess()  # made here, so that it inherits what capfd captures
    path = script("import os\nprint('hello')\nos.system('echo from a program')\n" + HANDLER)
    targets = [asdict(target) for target in find_targets([str(path)])]
    worker.send(type="load", targets=targets, socket=None, token="t")
    assert next(worker.reports())["type"] == "ready"
    assert capfd.readouterr() == ("", "hello\nfrom a program\n")
    end(worker)


PRINTING = """
import faulthandler, logging, os, sys, threading, warnings
from hfhooks import WebhooksServer
SECRET = WebhooksServer(webhook_secret="canary-of-the-script").webhook_secret
os.environ["HF_TOKEN"] = SECRET[:6] + "-of-a-file"
print("1", SECRET, flush=True)
sys.stdout.write("2 " + SECRET * 100_000 + "\\n")
logging.warning("3 %s", SECRET)
warnings.warn("4 " + SECRET)
threading.Thread(target=lambda: int("5 " + SECRET)).start()
assert (sys.stdout.fileno(), sys.stderr.fileno(), sys.stderr.isatty()) == (1, 2, False)
sys.stdout.reconfigure(encoding="utf-8")
sys.stdout.buffer.write(b"6\\n")
faulthandler.dump_traceback()
"""


def test_what_the_script_prints_is_masked(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = WorkerProcess()
    started = report_of(worker, "load", script(PRINTING + HANDLER))
    assert started["type"] == "ready"
    end(worker)
    out, err = capfd.readouterr()
    assert out == "" and "canary-of" not in err
    for words in ("1 ***\n", "2 " + "***" * 100_000, "3 ***\n", "4 ***\n", "'5 ***'", "\n6\n"):
        assert words in err
    assert "most recent call first" in err


FAILING = """
import os
from hfhooks import WebhooksServer
SECRET = "canary-of-the-" + "script"
os.environ["NGROK_AUTHTOKEN"] = "canary-of-a-" + "file"
def fail():
    WebhooksServer(webhook_secret=SECRET)
    raise RuntimeError(SECRET + ", canary-of-a-" + "file")
"""


def test_why_a_script_fails_is_told_without_its_secrets(load: Any, script: Script) -> None:
    report = load(script(FAILING + "fail()  # canary-of-the-script"))
    assert report["message"].endswith(":8: RuntimeError: ***, ***")
    assert report["traceback"][1].endswith("fail()  # ***")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_for_the_whole_group_are_the_gateways_business(
    worker: WorkerProcess, load: Any, script: Script, number: signal.Signals
) -> None:
    load(script(HANDLER))
    os.kill(worker.pid, number)
    worker.send(type="stop")
    assert worker.wait(10) == 0


def test_programs_it_starts_are_not_deaf_to_signals(load: Any, script: Script) -> None:
    text = """
import signal, subprocess, sys
code = "import signal; print([signal.getsignal(n) == signal.SIG_DFL for n in (15, 1)],"
code += " signal.getsignal(2) == signal.default_int_handler,"
code += " signal.pthread_sigmask(signal.SIG_BLOCK, []))"
found = subprocess.check_output([sys.executable, "-c", code], text=True)
assert found == "[True, True] True set()\\n", found
"""
    report = load(script(text + HANDLER))
    assert report["type"] == "ready", report


def test_it_can_be_stopped_before_it_has_loaded_anything(worker: WorkerProcess) -> None:
    worker.send(type="stop")
    assert worker.wait(10) == 0


def test_it_can_be_stopped_while_a_script_loads_for_ever(
    worker: WorkerProcess, script: Script, tmp_path: Path
) -> None:
    path = script(f"open({str(tmp_path / 'loading')!r}, 'w')\nwhile True: pass")
    targets = [asdict(target) for target in find_targets([str(path)])]
    worker.send(type="load", targets=targets, socket=None, token="t")
    wait_until((tmp_path / "loading").exists)
    worker.send(type="stop")
    assert worker.wait(10) == 0


def test_it_leaves_with_its_gateway_and_takes_its_socket_along(
    worker: WorkerProcess, load: Any, script: Script, tmp_path: Path
) -> None:
    load(script(HANDLER))
    worker._process.stdin.close()  # type: ignore[union-attr] # as if we were killed
    assert worker.wait(2) == 1
    assert not (tmp_path / "run").exists()


def test_closing_ends_it_whatever_it_does(script: Script, tmp_path: Path) -> None:
    worker = WorkerProcess()
    path = script(f"import os\nopen({str(tmp_path / 'up')!r}, 'w')\nos.kill(os.getpid(), 19)")
    targets = [asdict(target) for target in find_targets([str(path)])]
    worker.send(type="load", targets=targets, socket=None, token="t")
    wait_until((tmp_path / "up").exists)
    worker.close()
    assert worker.wait() == -signal.SIGKILL
    worker.send(type="stop")
    end(worker)


def test_a_lifespan_ends_with_it(
    load: Any, worker: WorkerProcess, script: Script, tmp_path: Path
) -> None:
    text = f"import atexit\natexit.register(open({str(tmp_path / 'left')!r}, 'w').write, 'x')\n"
    load(script(text + HANDLER))
    worker.send(type="stop")
    assert worker.wait(10) == 0
    assert (tmp_path / "left").read_text() == "x"


def test_modules_of_the_working_folder_do_not_disturb_it(script: Script, tmp_path: Path) -> None:
    script("1 / 0", "email.py")
    script("1 / 0", "typing_extensions.py")
    code = "from hfhooks.worker.spawn import WorkerProcess as W; w = W(); w.send(type='load', "
    code += "targets=[], socket=None, token=''); print(next(w.reports(), None)); w.close()"
    import sys

    found = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "ZeroDivisionError" not in found.stderr


def test_while_it_serves_it_says_that_it_is_alive(
    worker: WorkerProcess, load: Any, script: Script
) -> None:
    assert load(script(HANDLER))["type"] == "ready"
    worker.send(type="ping")
    assert next(worker.reports()) == {"type": "alive"}


def test_while_it_loads_it_says_that_it_is_alive(worker: WorkerProcess, script: Script) -> None:
    worker.send(type="ping")
    assert next(worker.reports()) == {"type": "alive"}


def test_it_reports_the_files_it_has_loaded(load: Any, script: Script) -> None:
    words = script("", "words.py")
    path = script("import json, words\n" + HANDLER)
    assert load(path)["files"] == [str(path), str(words)]


def test_a_failed_load_reports_the_files_it_has_tried(load: Any, script: Script) -> None:
    words = script("1 / 0", "words.py")
    path = script("import words\n" + HANDLER)
    assert load(path)["files"] == [str(path), str(words)]


def test_a_change_of_equal_size_within_the_same_second_is_seen(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    text = "import words\nfrom hfhooks import webhook_endpoint as endpoint\n"
    path, found = script(text + "endpoint(words.WORD)(lambda: 1)"), []
    for word in ("one", "two"):
        os.utime(script(f"WORD = '{word}'", "words.py"), (0, 0))
        worker = WorkerProcess()
        found += [row["name"] for row in report_of(worker, "load", path)["endpoints"]]
        end(worker)
    assert found == ["one", "two"]
    assert not list(tmp_path.rglob("__pycache__"))


LIBRARY = """
import os, sys
print("1", end="")
print("2", file=sys.stderr)
os.system("echo 3; echo 4 >&2")
"""


def test_what_a_spare_has_preloaded_is_not_paid_again_and_not_heard(
    script: Script, library: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    library(LIBRARY, "lib_loud.py")
    worker = WorkerProcess()  # made here, so that it inherits what capfd captures
    path = script("import lib_loud\nprint('heard')\n" + HANDLER)
    assert report_of(worker, "preload", path) == {"type": "preloaded"}
    assert report_of(worker, "load", path)["type"] == "ready"
    assert capfd.readouterr() == ("", "heard\n")
    end(worker)


def test_a_load_that_comes_during_the_preload_is_next(
    library: Callable[..., Path], worker: WorkerProcess, script: Script, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    library(f"with open({str(tmp_path / 'gate')!r}) as gate:\n    gate.read()", "lib_waiting.py")
    path = script("import lib_waiting\n" + HANDLER)
    targets = [asdict(target) for target in find_targets([str(path)])]
    worker.send(type="preload", targets=targets)
    worker.send(type="load", targets=targets, socket=None, token="t")
    worker.send(type="ping")
    reports = worker.reports()
    assert next(reports)["type"] == "alive"
    (tmp_path / "gate").write_text("")
    assert [next(reports)["type"] for _ in range(2)] == ["preloaded", "ready"]


def test_it_can_be_stopped_while_a_library_is_imported_for_ever(
    script: Script, library: Callable[..., Path], tmp_path: Path
) -> None:
    library(f"open({str(tmp_path / 'up')!r}, 'w')\nwhile True: pass", "lib_endless.py")
    worker = WorkerProcess()
    path = script("import lib_endless\n" + HANDLER)
    worker.send(type="preload", targets=[asdict(target) for target in find_targets([str(path)])])
    wait_until((tmp_path / "up").exists)
    worker.send(type="stop")
    assert worker.wait(10) == 0
    end(worker)


@pytest.mark.parametrize(("kinds", "is_warm"), [(["load"], False), (["preload", "load"], True)])
def test_it_warms_up_unless_a_load_is_waiting(
    script: Script, kinds: list[str], is_warm: bool
) -> None:
    worker = WorkerProcess()  # one that is forked has imported all that
    text = "import sys\nfrom hfhooks import webhook_endpoint as endpoint\n"
    text += "is_warm = 'uvicorn.protocols.http.httptools_impl' in sys.modules\n"
    path = script(text + "endpoint(str(is_warm))(lambda: 1)")
    for kind in kinds:
        report = report_of(worker, kind, path)
    end(worker)
    assert report["endpoints"][0]["name"] == str(is_warm)
