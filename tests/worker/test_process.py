"""The worker as a process: real sockets, real signals."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.supervisor.spawn import Spawned
from hfhooks.supervisor.targets import find_targets
from hfhooks.worker.frames import (
    ALIVE,
    ANSWER,
    FAILED,
    LOAD,
    PAGE,
    PING,
    PRELOAD,
    PRELOADED,
    READY,
    SECRET,
    SERVED,
    STOP,
    Frame,
    Outbox,
    Parser,
    ending_from,
    message_from,
    of_attempt,
    of_message,
)
from tests.harness import wait_until
from tests.zygote import Forked

Script = Callable[..., Path]
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"


class Line:
    """The gateway's end of the socket, for a test that says one thing after the other."""

    def __init__(self) -> None:
        self.worker = Spawned()
        self.worker.sock.settimeout(30)
        self._parser = Parser()
        self._frames: list[Frame] = []
        self.secrets: list[str] = []
        """What it has told us to mask."""

    def send(self, frame: Frame) -> None:
        outbox = Outbox()
        outbox.put(frame)
        while outbox:
            self.worker.sock.sendall(outbox.take(100_000))

    def tell(self, kind: int, *paths: Path, **more: Any) -> None:
        """Tell the worker to load or preload scripts."""
        targets = [asdict(target) for target in find_targets([str(path) for path in paths])]
        self.send(of_message(kind, {"targets": targets, **more}))

    def next(self) -> Frame:
        """Return what the worker says next."""
        while not self._frames:
            data = self.worker.sock.recv(65536)
            assert data, "it says nothing more"
            self._frames = self._parser.feed(data)
        frame = self._frames.pop(0)
        if frame.kind == SECRET:
            self.secrets.append(message_from(frame)["secret"])
            return self.next()
        return frame

    def load(self, path: Path) -> Mapping[str, Any]:
        """Let it load a script, and return its report."""
        self.tell(LOAD, path)
        frame = self.next()
        return {"kind": frame.kind, **message_from(frame)}

    def call(self, endpoint: str, body: bytes = b"{}") -> Ending:
        """Have a handler called."""
        headers = (("content-type", "application/json"),)
        claim = Claim(1, Recorded(endpoint, 0.0, "", headers, body), 1, "")
        self.send(of_attempt(7, claim, None))
        frame = self.next()
        assert (frame.kind, frame.number) == (ANSWER, 7)
        return ending_from(frame)

    def close(self) -> None:
        self.worker.close()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The line to a worker that is forked; tests that make their own start Python."""
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", Forked)
        line = Line()
    yield line
    line.close()


def test_it_reports_its_endpoints_and_calls_their_handlers(line: Line, script: Script) -> None:
    report = line.load(script(HANDLER))
    assert (report["kind"], report["has_site"]) == (READY, False)
    assert [row["name"] for row in report["endpoints"]] == ["a"]
    ending = line.call("a")
    assert (ending.kind, ending.status, ending.body) == ("answered", 200, b'"a"')


def test_a_large_body_goes_and_comes_in_pieces(line: Line, script: Script) -> None:
    text = "from fastapi import Request, Response\nfrom hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint\nasync def a(r: Request): return Response(await r.body())\n"
    line.load(script(text))
    body = os.urandom(1_000_000)
    assert line.call("a", body).body == body


def test_a_script_that_fails_is_reported_in_words(line: Line, script: Script) -> None:
    path = script("\n1 / 0")
    assert line.load(path) == {
        "kind": FAILED,
        "message": f"{path}:2: ZeroDivisionError: division by zero",
        "help": None,
        "file": str(path),
        "line": 2,
        "exit_code": 3,
        "traceback": [],
        "files": [str(path)],
    }
    assert line.worker.wait(10) == 3


def test_the_script_sees_an_empty_stdin_and_its_own_name(line: Line, script: Script) -> None:
    text = "import sys\nassert sys.stdin.read() == ''\nassert sys.argv == [__file__]\n"
    assert line.load(script(text + HANDLER))["kind"] == READY


def test_what_the_script_prints_goes_to_stderr_at_once(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    path = script("import os\nprint('hello')\nos.system('echo from a program')\n" + HANDLER)
    with closing(Line()) as line:  # made here, so that it inherits what capfd captures
        assert line.load(path)["kind"] == READY
        assert capfd.readouterr() == ("", "hello\nfrom a program\n")


PRINTING = """
import faulthandler, logging, os, sys, threading, warnings
from hfhooks import WebhooksServer
SECRET = WebhooksServer(webhook_secret="canary-of-the-script").webhook_secret
os.environ["HF_TOKEN"] = SECRET[:6] + "-of-a-file"
print("1", SECRET, flush=True)
sys.stdout.write("2 " + SECRET * 100_000 + "\\n")
logging.warning("3 %s", SECRET)
warnings.warn("4 " + SECRET)
thread = threading.Thread(target=lambda: int("5 " + SECRET))
thread.start()
thread.join()
assert (sys.stdout.fileno(), sys.stderr.fileno(), sys.stderr.isatty()) == (1, 2, False)
sys.stdout.reconfigure(encoding="utf-8")
sys.stdout.buffer.write(b"6\\n")
sys.stdout.flush()
faulthandler.dump_traceback()
"""


def test_what_the_script_prints_is_masked(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(Line()) as line:
        assert line.load(script(PRINTING + HANDLER))["kind"] == READY
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


def test_why_a_script_fails_is_told_without_its_secrets(line: Line, script: Script) -> None:
    report = line.load(script(FAILING + "fail()  # canary-of-the-script"))
    assert report["message"].endswith(":8: RuntimeError: ***, ***")
    assert report["traceback"][1].endswith("fail()  # ***")


SETTING = """
import os
from fastapi import BackgroundTasks
from hfhooks import Discard, Retry, webhook_endpoint
os.environ["HF_TOKEN"] = "canary-at-import"

def set(name):
    os.environ[name] = "canary-of-a-call"
    return os.environ.pop(name)

@webhook_endpoint
def raises(): raise RuntimeError(os.environ["HF_TOKEN"] + set("NGROK_API_KEY"))
@webhook_endpoint
def retries(): raise Retry(set("NGROK_AUTHTOKEN"))
@webhook_endpoint
async def discards(): raise Discard(set("WEBHOOK_SECRET_PREVIOUS"))
@webhook_endpoint
def answers(): return set("HUGGING_FACE_HUB_TOKEN")
@webhook_endpoint
def later(tasks: BackgroundTasks): tasks.add_task(lambda: int(set("HF_TOKEN")))
"""


def test_what_a_handler_puts_into_the_environment_is_masked_at_that_moment(
    line: Line, script: Script
) -> None:
    line.load(script(SETTING))
    assert line.secrets == ["canary-at-import"]
    assert line.call("raises").body.endswith(b"RuntimeError: ******\n")
    assert [line.call(name).body for name in ("retries", "discards")] == [b"***"] * 2
    assert line.call("answers").body == b'"canary-of-a-call"'  # as its author wrote it
    assert line.secrets == ["canary-at-import", *["canary-of-a-call"] * 4]
    assert line.call("later").body == b"null"
    assert message_from(line.next())["error"].endswith(" '***'\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_for_the_whole_group_are_the_gateways_business(
    line: Line, script: Script, number: signal.Signals
) -> None:
    line.load(script(HANDLER))
    os.kill(line.worker.pid, number)
    line.send(Frame(STOP))
    assert line.next() == Frame(SERVED)
    assert line.worker.wait(10) == 0


def test_programs_it_starts_are_not_deaf_to_signals_and_hear_nothing_of_us(
    line: Line, script: Script
) -> None:
    text = """
import os, signal, subprocess, sys
code = "import os, signal; print([signal.getsignal(n) == signal.SIG_DFL for n in (15, 1)],"
code += " signal.getsignal(2) == signal.default_int_handler,"
code += " signal.pthread_sigmask(signal.SIG_BLOCK, []),"
code += " sorted(map(int, os.listdir('/dev/fd')))[:-1])"
found = subprocess.check_output([sys.executable, "-c", code], text=True, close_fds=False)
assert found == "[True, True] True set() [0, 1, 2]\\n", found
"""
    report = line.load(script(text + HANDLER))
    assert report["kind"] == READY, report


def test_a_fork_has_no_part_in_what_is_said(line: Line, script: Script) -> None:
    text = """
import os
if os.fork() == 0:
    os.closerange(0, 3)
    import time
    time.sleep(30)
"""
    assert line.load(script(text + HANDLER))["kind"] == READY
    line.worker.kill()
    assert line.worker.sock.recv(1) == b""  # and not only when the fork has ended


def test_it_can_be_stopped_before_it_has_loaded_anything(line: Line) -> None:
    line.send(Frame(STOP))
    assert line.worker.wait(10) == 0


def test_it_leaves_with_its_gateway(line: Line, script: Script) -> None:
    line.load(script(HANDLER))
    line.worker.sock.close()  # as if we were killed
    assert line.worker.wait(5) == 1


@pytest.mark.parametrize("place", ["load", "handler"])
def test_it_leaves_with_its_gateway_whatever_it_does(
    line: Line, script: Script, tmp_path: Path, place: str
) -> None:
    busy = f"open({str(tmp_path / 'up')!r}, 'w')\n%swhile True: pass"
    if place == "load":
        line.tell(LOAD, script(busy % ""))
    else:
        text = "from hfhooks import webhook_endpoint\n@webhook_endpoint\nasync def a():\n    "
        line.load(script(text + busy % "    "))
        line.send(of_attempt(1, Claim(1, Recorded("a", 0.0, "", (), b""), 1, ""), None))
    wait_until((tmp_path / "up").exists)
    line.worker.sock.close()
    assert line.worker.wait(5) == 1


def test_what_is_no_frame_ends_it(line: Line, script: Script) -> None:
    line.load(script(HANDLER))
    line.worker.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert line.worker.wait(5) == 1


def test_closing_ends_it_whatever_it_does(script: Script, tmp_path: Path) -> None:
    line = Line()
    path = script(f"import os\nopen({str(tmp_path / 'up')!r}, 'w')\nos.kill(os.getpid(), 19)")
    line.tell(LOAD, path)
    wait_until((tmp_path / "up").exists)
    line.close()
    assert line.worker.wait() == -signal.SIGKILL
    line.close()


def test_what_is_to_run_at_its_end_does(line: Line, script: Script, tmp_path: Path) -> None:
    text = f"import atexit\natexit.register(open({str(tmp_path / 'left')!r}, 'w').write, 'x')\n"
    line.load(script(text + HANDLER))
    line.send(Frame(STOP))
    assert line.worker.wait(10) == 0
    assert (tmp_path / "left").read_text() == "x"


def test_modules_of_the_working_folder_do_not_disturb_it(script: Script, tmp_path: Path) -> None:
    script("1 / 0", "email.py")
    script("1 / 0", "typing_extensions.py")
    code = "from hfhooks.supervisor.spawn import Spawned as W; w = W(); "
    code += "w.sock.send(b'not a frame'); print(w.wait(30)); w.close()"
    command = [sys.executable, "-P", "-c", code]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (found.stdout, "ZeroDivisionError" in found.stderr) == ("1\n", False)


def test_while_it_serves_it_says_that_it_is_alive(line: Line, script: Script) -> None:
    assert line.load(script(HANDLER))["kind"] == READY
    line.send(Frame(PING))
    assert line.next() == Frame(ALIVE)


def test_before_it_loads_it_says_that_it_is_alive(line: Line) -> None:
    line.send(Frame(PING))
    assert line.next() == Frame(ALIVE)


def test_it_reports_the_files_it_has_loaded(line: Line, script: Script) -> None:
    words = script("", "words.py")
    path = script("import json, words\n" + HANDLER)
    assert line.load(path)["files"] == [str(path), str(words)]


def test_a_failed_load_reports_the_files_it_has_tried(line: Line, script: Script) -> None:
    words = script("1 / 0", "words.py")
    path = script("import words\n" + HANDLER)
    assert line.load(path)["files"] == [str(path), str(words)]


def test_a_change_of_equal_size_within_the_same_second_is_seen(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    text = "import words\nfrom hfhooks import webhook_endpoint as endpoint\n"
    path, found = script(text + "endpoint(words.WORD)(lambda: 1)"), []
    for word in ("one", "two"):
        os.utime(script(f"WORD = '{word}'", "words.py"), (0, 0))
        line = Line()
        found += [row["name"] for row in line.load(path)["endpoints"]]
        line.close()
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
    path = script("import lib_loud\nprint('heard')\n" + HANDLER)
    with closing(Line()) as line:
        line.tell(PRELOAD, path)
        assert line.next() == Frame(PRELOADED)
        assert line.load(path)["kind"] == READY
    assert capfd.readouterr() == ("", "heard\n")


def test_a_load_that_comes_during_the_preload_is_next(
    library: Callable[..., Path], script: Script, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    library(f"with open({str(tmp_path / 'gate')!r}) as gate:\n    gate.read()", "lib_waiting.py")
    path = script("import lib_waiting\n" + HANDLER)
    line = Line()
    line.tell(PRELOAD, path)
    line.tell(LOAD, path)
    (tmp_path / "gate").write_text("")
    assert [line.next().kind for _ in range(2)] == [PRELOADED, READY]
    line.close()


@pytest.mark.parametrize(("kinds", "is_warm"), [([LOAD], False), ([PRELOAD, LOAD], True)])
def test_it_warms_up_unless_a_load_is_waiting(
    script: Script, kinds: list[int], is_warm: bool
) -> None:
    line = Line()  # one that is forked has imported all that
    text = "import sys\nfrom hfhooks import webhook_endpoint as endpoint\n"
    text += "is_warm = 'hfhooks.worker.warmup' in sys.modules\n"
    path = script(text + "endpoint(str(is_warm))(lambda: 1)")
    for kind in kinds:
        line.tell(kind, path)
        frame = line.next()
    line.close()
    assert message_from(frame)["endpoints"][0]["name"] == str(is_warm)


def test_what_has_an_answer_has_it_though_the_next_handler_blocks_at_once(
    line: Line, script: Script, tmp_path: Path
) -> None:
    text = "import pathlib, time\nfrom hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint\nasync def quick(payload: dict): return 1\n"
    text += "@webhook_endpoint\nasync def blocks(payload: dict):\n"
    text += f"    while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    line.load(script(text))
    outbox = Outbox()
    for number, name in enumerate(("quick", "blocks"), 1):
        headers = (("content-type", "application/json"),)
        claim = Claim(number, Recorded(name, 0.0, "", headers, b"{}"), 1, "")
        outbox.put(of_attempt(number, claim, None))
    line.worker.sock.sendall(outbox.take(10_000))  # so that they come in one turn of its loop
    assert line.next()[:2] == (ANSWER, 1)
    (tmp_path / "go").touch()
    wait_until(lambda: line.next()[:2] == (ANSWER, 2))


def test_a_page_is_served_on_a_socket_that_comes_with_its_frame(line: Line, script: Script) -> None:
    text = "from hfhooks import WebhooksServer\napp = WebhooksServer()\n"
    text += "@app.fastapi_app.get('/page')\ndef page(): return 'a page'\n"
    assert line.load(script(text + HANDLER))["has_site"]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox()
        outbox.put(Frame(PAGE))
        socket.send_fds(line.worker.sock, [outbox.take(100)], [theirs.fileno()])
        ours.settimeout(10)
        ours.sendall(b"GET /page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        theirs.close()
        answer = b""
        while chunk := ours.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b'"a page"')


def test_its_own_endpoints_are_no_pages(line: Line, script: Script) -> None:
    text = "from hfhooks import WebhooksServer\napp = WebhooksServer()\n"
    text += "@app.fastapi_app.get('/page')\ndef page(): return 'a page'\n"
    line.load(script(text + HANDLER))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox()
        outbox.put(Frame(PAGE))
        socket.send_fds(line.worker.sock, [outbox.take(100)], [theirs.fileno()])
        ours.settimeout(10)
        request = b"POST /webhooks/a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
        ours.sendall(request + b"content-length: 2\r\n\r\n{}")
        assert ours.recv(65536).startswith(b"HTTP/1.1 404 ")
