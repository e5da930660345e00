"""`hfhooks serve` as a person runs it: a process, a socket, signals."""

import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hfhooks.private import state_folder
from tests.harness import (
    COMMAND,
    JSON,
    PAYLOADS,
    WAITING,
    payload_bytes,
    post,
    request,
    run_command,
    wait_until,
)

Script = Callable[..., Path]
Start = Callable[..., Any]

PULL = payload_bytes("pr_create_v3_docs")
ECHO = """
from hfhooks import WebhookPayload, webhook_endpoint

@webhook_endpoint
async def model(payload: WebhookPayload) -> dict:
    return payload.model_dump(by_alias=True)

@webhook_endpoint
def plain(payload: dict):
    return payload
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's processes, short enough for a socket."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="t-"))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_every_payload_reaches_the_handler_as_it_was_sent(start: Start, script: Script) -> None:
    server = start(script(ECHO))
    for path in PAYLOADS:
        name = "plain" if path.stem.startswith("v2_") else "model"
        answer = server.post(name, path.read_bytes())
        assert (answer.status, answer.json()) == (200, json.loads(path.read_bytes())), path.stem
    wait_until(lambda: len(server.deliveries) == len(PAYLOADS))
    assert {line["status"] for line in server.deliveries} == {"succeeded"}
    assert [line["id"] for line in server.deliveries] == list(range(1, len(PAYLOADS) + 1))


def test_a_payload_too_old_for_the_model_is_a_2xx_all_the_same(
    start: Start, script: Script
) -> None:
    server = start(script(ECHO))
    answer = server.post("model", payload_bytes("v2_comment_add_captured"))
    assert (answer.status, answer.json()) == (200, {"id": 1, "status": "failed"})
    wait_until(lambda: "body.event: " in server.stderr)


def test_the_ready_line_tells_the_truth(start: Start, script: Script) -> None:
    text = "from hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint('/a', on='repo', repo=['me/*', 'you/*'], ref='refs/*')\n"
    server = start(script(text + "def handler(): ..."))
    url = server.ready["local_url"]
    assert server.ready == {
        "type": "ready",
        "url": url,
        "local_url": url,
        "inspector_url": server.ready["inspector_url"],
        "tunnel": None,
        "secret": False,
        "endpoints": [
            {
                "name": "a",
                "path": "/webhooks/a",
                "url": f"{url}/webhooks/a",
                "on": ["repo"],
                "repo": ["me/*", "you/*"],
                "ref": ["refs/*"],
                "secret": False,
            }
        ],
    }


def test_the_delivery_line_tells_the_truth(start: Start, script: Script) -> None:
    server = start(script(ECHO))
    server.post("plain", PULL)
    wait_until(lambda: server.deliveries)
    [line] = server.deliveries
    assert line.pop("duration_ms") > 0
    assert line == {
        "type": "delivery",
        "id": 1,
        "endpoint": "plain",
        "event": "discussion:create",
        "repo": "model:openai-community/gpt2",
        "status": "succeeded",
        "http_status": 200,
        "sent_status": 200,
        "attempt": 1,
        "replay": False,
        "origin": "hub",
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_everything_and_leaves_nothing(
    start: Start, script: Script, temporary: Path, number: int, code: int
) -> None:
    server = start(script(ECHO))
    server.post("plain", PULL)
    pids = server.worker_pids
    assert pids and list(temporary.iterdir()) == []
    assert list(state_folder().glob("servers/*.json"))
    assert server.stop(number) == code
    assert server.events[-1] == {"type": "stopped"}
    assert not any(map(is_alive, pids))
    assert list(temporary.iterdir()) == []
    assert list(state_folder().glob("servers/*")) == []
    assert server.said == ""


def test_a_signal_to_the_whole_group_ends_it_as_quietly(start: Start, script: Script) -> None:
    server = start(script(ECHO))
    for pid in server.ready and server.worker_pids:
        os.kill(pid, signal.SIGINT)
    assert server.stop(signal.SIGINT) == 130
    assert server.said == ""


@pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
def test_ctrl_c_at_a_terminal(
    script: Script, monkeypatch: pytest.MonkeyPatch, no_color: str, has_colour: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "serve", str(script(ECHO)), "--port", "0"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C is for who owns it
    )
    os.close(theirs)
    shown = ""
    while "Press Ctrl-C to stop" not in shown:
        shown += os.read(ours, 65536).decode()
    os.write(ours, b"\x03")
    with suppress(OSError):  # the terminal's end
        while chunk := os.read(ours, 65536):
            shown += chunk.decode()
    os.close(ours)
    assert process.wait(20) == 130
    assert shown.replace("\r\n", "\n").endswith("Stopped.\n") and "Traceback" not in shown
    assert ("\x1b[33m" in shown) is has_colour


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_everything_is_still_imported_ends_it(
    start: Start, script: Script, temporary: Path, number: int, code: int
) -> None:
    server = start(script(ECHO))
    pids = wait_until(lambda: server.worker_pids)
    assert server.stop(number) == code
    wait_until(lambda: not any(map(is_alive, pids)))
    assert server.said == "" and server.lines == []
    assert list(temporary.iterdir()) == []


def test_ctrl_c_while_a_script_loads_ends_it(start: Start, script: Script) -> None:
    server = start(script("while True: pass"))
    wait_until(lambda: "still loading" in server.stderr)
    pids = server.worker_pids
    assert server.stop(signal.SIGINT) == 130
    assert not any(map(is_alive, pids))
    assert "Traceback" not in server.stderr


def test_a_running_handler_may_finish_and_its_sender_gets_the_answer(
    start: Start, script: Script, tmp_path: Path
) -> None:
    text = f"""
import pathlib, threading
from hfhooks import webhook_endpoint

@webhook_endpoint
def slow():
    pathlib.Path({str(tmp_path / "started")!r}).touch()
    threading.Event().wait(1)
    return "finished"
"""
    server = start(script(text))
    url = server.url("slow")
    answers: list[Any] = []
    sender = threading.Thread(target=lambda: answers.append(post(url, PULL)))
    sender.start()
    wait_until((tmp_path / "started").exists)
    assert server.stop() == 0
    sender.join()
    assert (answers[0].status, answers[0].json()) == (200, "finished")
    assert [line["status"] for line in server.deliveries] == ["succeeded"]
    assert server.said == "note: a handler may run for 15 s; Ctrl-C again stops at once.\n"


def test_a_second_signal_ends_it_at_once(start: Start, script: Script, tmp_path: Path) -> None:
    text = f"""
import pathlib, threading
from hfhooks import webhook_endpoint

@webhook_endpoint
def stuck():
    pathlib.Path({str(tmp_path / "started")!r}).touch()
    threading.Event().wait(60)
"""
    server = start(script(text), "--wait", "0")
    server.post("stuck", PULL)
    wait_until((tmp_path / "started").exists)
    pids = server.worker_pids
    server.process.send_signal(signal.SIGTERM)

    def ended_by_another() -> bool:  # those that come together are one
        server.process.send_signal(signal.SIGTERM)
        return server.process.poll() is not None

    wait_until(ended_by_another)
    assert server.stop() == 128 + signal.SIGTERM
    wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize("text", [ECHO, "while True: pass"])
def test_after_kill_9_no_worker_and_no_socket_stays(
    start: Start, script: Script, temporary: Path, text: str
) -> None:
    server = start(script(text))
    wait_until(lambda: server.lines or "still loading" in server.stderr, timeout=30)
    pids = server.worker_pids
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, pids)))
    wait_until(lambda: list(temporary.iterdir()) == [])


def test_what_a_killed_server_had_not_handled_is_handled_by_the_next(
    start: Start, script: Script, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    text = f"""
import os, pathlib, threading
from hfhooks import webhook_endpoint

@webhook_endpoint
def handler(payload):
    with open({str(log)!r}, "a") as file:
        file.write(os.environ["ROUND"] + payload.repo.name + "\\n")
    if os.environ["ROUND"] == "1":
        threading.Event().wait(60)
"""
    first = start(script(text), "--wait", "0", env={"ROUND": "1"})
    assert first.post("handler", PULL).json() == {"id": 1, "status": "queued"}
    wait_until(log.exists)
    first.stop(signal.SIGKILL)
    second = start(script(text), env={"ROUND": "2"})
    wait_until(lambda: second.deliveries)
    assert log.read_text().split() == ["1openai-community/gpt2", "2openai-community/gpt2"]
    [line] = second.deliveries
    assert (line["id"], line["attempt"], line["status"]) == (1, 2, "succeeded")


def test_a_worker_that_is_killed_is_replaced_and_its_delivery_run_again(
    start: Start, script: Script, tmp_path: Path
) -> None:
    marker = tmp_path / "crashed"
    text = f"""
import os, pathlib
from hfhooks import webhook_endpoint

@webhook_endpoint
def crash_once():
    if not pathlib.Path({str(marker)!r}).exists():
        pathlib.Path({str(marker)!r}).touch()
        os.kill(os.getpid(), 9)
    return "survived"
"""
    server = start(script(text), "--wait", "20")
    answer = server.post("crash_once", PULL)
    assert (answer.status, answer.json()) == (200, "survived")
    wait_until(lambda: "the worker was ended by signal 9 (SIGKILL)" in server.stderr)
    wait_until(lambda: [line["attempt"] for line in server.deliveries] == [2])


def test_a_delivery_that_failed_is_tried_again_after_a_restart(
    start: Start, script: Script
) -> None:
    path = script("from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): 1 / 0")
    first = start(path)
    assert first.post("a", PULL).json() == {"id": 1, "status": "retrying"}
    first.stop()
    script("from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'mended'")
    second = start(path)
    wait_until(lambda: [line["status"] for line in second.deliveries] == ["succeeded"])
    assert second.deliveries[0]["attempt"] == 2
    assert "note: handling a delivery that the last run did not finish.\n" in second.stderr


def test_a_delivery_whose_endpoint_has_another_name_now_is_said(
    start: Start, script: Script
) -> None:
    path = script("from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): 1 / 0")
    first = start(path)
    first.post("a", PULL)
    first.stop()
    script("from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef b(): return 'mended'")
    second = start(path)
    assert second.ready
    assert second.said == "note: kept for an endpoint that is not here (a): a delivery.\n"


SLEEPER = """
import multiprocessing, os, pathlib, time
from hfhooks import webhook_endpoint

FOLDER = pathlib.Path(__file__).parent

@webhook_endpoint
def slow(payload: dict):
    with open(FOLDER / "slow.log", "a") as log:
        log.write("started\\n")
    time.sleep(payload.get("seconds", 0))
    return "slept"

@webhook_endpoint
def crash():
    os._exit(7)

@webhook_endpoint
def fork():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,), daemon=True).start()
    (FOLDER / "forked").touch()
"""


def test_who_ran_beside_a_handler_that_crashes_is_run_to_its_end(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(SLEEPER), "--wait", "0")
    server.post("slow", {"seconds": 1})
    wait_until((tmp_path / "slow.log").exists)
    server.post("crash", PULL)
    wait_until(lambda: len(server.deliveries) == 2, timeout=60)
    ends = {line["endpoint"]: (line["status"], line["attempt"]) for line in server.deliveries}
    assert ends == {"slow": ("succeeded", 2), "crash": ("failed", 4)}


def test_a_child_that_holds_a_dead_workers_sockets_holds_up_nothing(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(SLEEPER), "--wait", "0")
    server.post("slow", {"seconds": 3})
    wait_until((tmp_path / "slow.log").exists)
    server.post("fork", PULL)
    wait_until((tmp_path / "forked").exists)
    [worker] = server.worker_pids
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: (tmp_path / "slow.log").read_text().count("started") == 2, timeout=30)


def test_background_tasks_may_finish(start: Start, script: Script, tmp_path: Path) -> None:
    text = f"""
import pathlib, time
from fastapi import BackgroundTasks
from hfhooks import webhook_endpoint

@webhook_endpoint
def later(tasks: BackgroundTasks):
    tasks.add_task(lambda: (time.sleep(2), pathlib.Path({str(tmp_path / "done")!r}).touch()))
"""
    server = start(script(text))
    assert server.post("later", PULL).status == 200
    assert server.stop() == 0
    assert (tmp_path / "done").exists()
    assert "background tasks are still running" in server.stderr


def test_a_handler_gets_the_grace_and_no_more(start: Start, script: Script, tmp_path: Path) -> None:
    server = start(script(SLEEPER), "--wait", "0", "--grace", "0.1")
    server.post("slow", {"seconds": 60})
    wait_until((tmp_path / "slow.log").exists)
    pids = server.worker_pids
    assert server.stop() == 0
    assert not any(map(is_alive, pids))


def _refuses(url: str) -> bool:
    try:
        request("GET", f"{url}/healthz")
    except OSError:
        return True
    return False


def test_a_body_that_arrives_while_the_server_stops_is_recorded(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(SLEEPER))
    url = urlsplit(server.url("slow"))
    with socket.create_connection((url.hostname, url.port)) as sock:
        head = f"POST {url.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        sock.sendall(f"{head}content-length: 2\r\n\r\n{{".encode())
        wait_until(lambda: request("GET", server.ready["local_url"] + "/healthz").status == 200)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _refuses(server.ready["local_url"]))
        sock.sendall(b"}")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 202 ") and b'"queued"' in answer
    assert server.stop() == 0
    again = start(tmp_path / "app.py")
    wait_until(lambda: [line["status"] for line in again.deliveries] == ["succeeded"])


def test_a_server_whose_stderr_nobody_reads_goes_on(script: Script) -> None:
    command = [*COMMAND, "serve", str(script(ECHO)), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    url = next(line for line in process.stderr if "POST " in line).split()[1]
    process.stderr.close()
    for _ in range(3):
        assert post(url, PULL).status in (200, 422)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1"])
def test_a_server_without_standard_streams_serves(script: Script, closed: str) -> None:
    serve = shlex.join([*COMMAND, "serve", str(script(ECHO)), "--port", "0", "--json"])
    process = subprocess.Popen(["sh", "-c", f"exec {serve} {closed}"], stdout=subprocess.DEVNULL)
    urls = run_command("print-urls", "--wait", "30", "--local").stdout.split()
    assert [post(url, PULL).status for url in urls] == [200, 200]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


@pytest.mark.parametrize("nowhere", ["2>&-", "2</dev/null"], ids=["closed", "takes nothing"])
def test_a_script_may_print_where_there_is_no_stderr(script: Script, nowhere: str) -> None:
    path = script("import sys\nprint(1, flush=True)\nprint(2, file=sys.stderr)\n1 / 0\n")
    serve = shlex.join([*COMMAND, "serve", str(path), "--port", "0", "--json", "--reload"])
    command = ["sh", "-c", f"exec {serve} {nowhere}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.terminate()
    assert "ZeroDivisionError" in line


def test_a_relative_state_folder_is_a_folder_here(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(ECHO), "--state-dir", "state", cwd=tmp_path)
    assert server.post("plain", PULL).status == 200
    assert list((tmp_path / "state").glob("journals/app-*/journal.db"))


def test_a_link_to_the_newest_script_keeps_its_journal(
    start: Start, script: Script, tmp_path: Path
) -> None:
    for version in "12":
        script(SLEEPER, f"{version}/app.py")
    link = tmp_path / "current"
    link.symlink_to("1")
    first = start(link / "app.py", "--wait", "0")
    first.post("slow", {"seconds": 60})
    wait_until((tmp_path / "1" / "slow.log").exists)
    first.stop(signal.SIGKILL)
    link.unlink()
    link.symlink_to("2")
    assert start(link / "app.py").ready
    wait_until((tmp_path / "2" / "slow.log").exists)


def test_what_handlers_print_stays_out_of_the_data(start: Start, script: Script) -> None:
    text = "from hfhooks import webhook_endpoint\nprint('loading')\n"
    server = start(script(text + "@webhook_endpoint\ndef a(): print('handling')"))
    server.post("a", PULL)
    wait_until(lambda: server.deliveries)
    wait_until(lambda: server.said == "loading\nhandling\n")


def test_a_handler_that_fails_is_shown_with_its_own_frames(start: Start, script: Script) -> None:
    text = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 1 / 0\n"
    server = start(script(text), as_json=False)
    wait_until(lambda: "Press Ctrl-C" in server.stderr)
    url = server.stderr.split("POST ")[1].split()[0]
    assert post(url, PULL).json() == {"id": 1, "status": "retrying"}
    wait_until(lambda: "ZeroDivisionError" in server.stderr)
    shown = server.stderr.partition("Press Ctrl-C to stop.\n")[2]
    assert "↻ 500  a  discussion:create  model:openai-community/gpt2" in shown
    assert re.search(r"  again in [456] s  #1\n", shown)
    assert 'app.py", line 3, in a' in shown and "site-packages" not in shown
    assert server.stop() == 0
    assert server.stderr.endswith("Stopped.\n")
    assert server.lines == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0"])
def test_hosts(start: Start, script: Script, host: str) -> None:
    server = start(script(ECHO), "--host", host)
    assert server.post("plain", PULL).status == 200


def test_the_secret_of_the_environment(start: Start, script: Script) -> None:
    server = start(script(ECHO), env={"WEBHOOK_SECRET": "s3cret"})
    assert server.ready["secret"] is True
    assert server.post("plain", PULL).status == 401
    assert server.post("plain", PULL, x_webhook_secret="s3cret").status == 200
    assert post(server.url("plain") + "?secret=s3cret", PULL).status == 200
    assert post(server.url("plain"), PULL, x_webhook_secret="s3cre").body == (
        server.post("plain", PULL).body
    )
    server.stop()
    assert "s3cret" not in server.stderr + "".join(server.lines)
    written = [file for file in state_folder().rglob("*") if file.is_file()]
    assert written and not [file for file in written if b"s3cret" in file.read_bytes()]


def test_without_a_secret_no_page_of_a_stranger_runs_a_handler(
    start: Start, script: Script
) -> None:
    server = start(script(ECHO), "--public-url", "http://hooks.example.com", "--no-reload")
    for strange in (
        {"origin": "https://evil.example"},
        {"origin": "http://evil.example:7860", "host": "evil.example:7860"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
    ):
        assert server.post("plain", PULL, **strange).status == 403, strange
    for own in ("http://localhost:3000", "http://hooks.example.com"):
        assert server.post("plain", PULL, origin=own, host="evil.example").status == 200
    assert server.post("plain", PULL, host="a-container:8080").status == 200
    assert "a page in a browser posted to /webhooks/plain" in server.stderr
    wait_until(lambda: [each["id"] for each in server.deliveries] == [1, 2, 3])


def test_a_header_of_any_bytes_is_a_401_over_the_wire(start: Start, script: Script) -> None:
    server = start(script(ECHO), env={"WEBHOOK_SECRET": "s3cret"})
    port = int(server.ready["local_url"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        head = b"POST /webhooks/plain HTTP/1.1\r\nhost: x\r\nx-webhook-secret: \xe9\xff\r\n"
        sock.sendall(head + b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        assert sock.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_the_state_folder_can_be_elsewhere(start: Start, script: Script, tmp_path: Path) -> None:
    server = start(script(ECHO), "--state-dir", tmp_path / "state")
    server.post("plain", PULL)
    assert [file.name for file in (tmp_path / "state").rglob("journal.db")] == ["journal.db"]
    assert list(state_folder().rglob("journal.db")) == []
    assert run_command("print-urls").returncode == 0


def test_where_the_state_folder_cannot_be_written_it_serves_all_the_same(
    start: Start, script: Script, tmp_path: Path
) -> None:
    state_folder().parent.mkdir(parents=True)
    state_folder().touch()
    server = start(script(ECHO), "--state-dir", tmp_path / "state")
    assert server.post("plain", PULL).status == 200
    assert "note: other commands will not find this server: " in server.stderr


def test_modules_of_one_name_in_two_folders_have_journals_of_their_own(
    start: Start, script: Script
) -> None:
    folders = [script(ECHO, f"{name}/hooks.py").parent for name in ("one", "two")]
    servers = [start("hooks", cwd=folder) for folder in folders]
    assert [server.post("plain", PULL).status for server in servers] == [200, 200]


def test_two_servers_of_one_script_do_not_share_a_journal(start: Start, script: Script) -> None:
    path = script(ECHO)
    first = start(path)
    port = first.ready["local_url"].rpartition(":")[2]
    second = run_command("serve", str(path), "--port", "0")
    assert second.returncode == 3
    assert f"in use by process {first.process.pid} on port {port}." in second.stderr


def test_a_folder_of_scripts_and_a_default_script(start: Start, script: Script) -> None:
    path = script(ECHO, "bots/handlers.py")
    assert len(start(path.parent).ready["endpoints"]) == 2
    server = start(cwd=path.parent, env={"HFHOOKS_STATE_DIR": str(path.parent / "state")})
    assert [row["name"] for row in server.ready["endpoints"]] == ["model", "plain"]


def test_the_landing_page_and_health_are_served(start: Start, script: Script) -> None:
    server = start(script(ECHO))
    page = request("GET", server.ready["local_url"] + "/")
    assert page.status == 200 and b"/webhooks/model" in page.body
    for path in ("/healthz", "/readyz"):
        health = request("GET", server.ready["local_url"] + path)
        assert (health.status, health.json()) == (200, {"records": True, "runs": True, "why": []})
    assert page.headers["server"] is None


def lines_of(result: Any) -> list[str]:
    assert result.stdout == ""
    return [line for line in result.stderr.splitlines() if not line.startswith(WAITING)]


@pytest.mark.parametrize(
    ("arguments", "text", "code", "error"),
    [
        (["nope.py"], None, 2, "error: no such file: nope.py"),
        (["app.py"], "print(", 3, "error: app.py:1: SyntaxError: '(' was never closed: print("),
        (["app.py"], "x = 1", 3, "error: app.py: no endpoint found."),
        (["app.py"], "import nope", 3, "error: app.py:1: no module named 'nope'"),
        (["app.py"], "1 / 0", 3, "error: app.py:1: ZeroDivisionError: division by zero"),
        (["app.py"], "exit()", 3, "error: app.py:1: the script called sys.exit() while it was"),
        (["app.py"], "import os; os._exit(1)", 3, "error: the worker exited with code 1 while"),
        (["app.py"], "input()", 3, "error: app.py:1: EOFError: EOF when reading a line"),
        (["--port", "65536", "app.py"], ECHO, 2, "error: --port 65536: a port is at most 65535."),
        (["--host", "256.0.0.1", "app.py"], ECHO, 2, "error: --host 256.0.0.1: no such address."),
        (
            ["--tunnel", "carrier", "app.py"],
            ECHO,
            2,
            "error: --tunnel carrier: one of auto, ngrok, ",
        ),
        (["--state-dir", "app.py", "app.py"], ECHO, 3, "error: the journal in "),
    ],
)
def test_what_cannot_start_is_said_in_a_line(
    script: Script, tmp_path: Path, arguments: list[str], text: str | None, code: int, error: str
) -> None:
    if text:
        script(text)
    result = run_command("serve", *arguments, cwd=tmp_path, env={"HFHOOKS_PORT": "0"})
    lines = lines_of(result)
    assert result.returncode == code
    assert lines[0].startswith(error)
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("help: "))


def test_a_busy_port_is_said_in_a_line(script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = str(sock.getsockname()[1])
        result = run_command("serve", str(script(ECHO)), "--port", port)
    assert result.returncode == 3
    assert lines_of(result)[0] == f"error: port {port} is in use."


def test_who_has_the_port_is_named(start: Start, script: Script) -> None:
    path = script(ECHO)
    first = start(path)
    port = first.ready["local_url"].rpartition(":")[2]
    result = run_command("serve", str(path), "--port", port)
    assert result.returncode == 3
    assert lines_of(result) == [
        f"error: port {port} is in use by hfhooks, process {first.process.pid}.",
        "help: Stop the program that has it, or choose another: --port 0 takes a free one.",
    ]


def test_a_folder_that_is_everybodys_is_said_in_a_line(script: Script, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o777)
    result = run_command("serve", str(script(ECHO)), "--port", "0", "--state-dir", str(folder))
    assert result.returncode == 3
    assert lines_of(result) == [
        f"error: everybody may write to {folder}.",
        f"help: Forbid it: chmod o-w {folder}",
    ]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--reload"]])
@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"WEBHOOK_SECRET": ""}, "WEBHOOK_SECRET is empty."),
        ({"WEBHOOK_SECRET": "clé"}, "WEBHOOK_SECRET is not ASCII."),
        ({"WEBHOOK_SECRET_PREVIOUS": "old"}, "WEBHOOK_SECRET_PREVIOUS is set and WEBHOOK_SECRET"),
        (
            {"WEBHOOK_SECRET": "new", "WEBHOOK_SECRET_PREVIOUS": " "},
            "WEBHOOK_SECRET_PREVIOUS is empty.",
        ),
    ],
)
def test_a_secret_that_protects_nothing_is_said_in_a_line(
    script: Script, environ: dict[str, str], words: str, options: list[str]
) -> None:
    result = run_command("serve", str(script(ECHO)), "--port", "0", *options, env=environ)
    assert result.returncode == 4
    assert lines_of(result)[0].startswith(f"error: {words}")


def test_what_a_person_should_know_of_a_secret_is_said_once(start: Start, script: Script) -> None:
    path = script(ECHO)
    server = start(path, "--reload", env={"WEBHOOK_SECRET": "s3cret\n"})
    assert server.post("plain", PULL, x_webhook_secret="s3cret").status == 200
    path.write_text(ECHO + "# saved\n")
    wait_until(lambda: any(event["type"] == "reload" for event in server.events))
    server.stop()
    line_break, short = server.said.splitlines(keepends=True)
    assert line_break == "note: WEBHOOK_SECRET ends with a line break, which is left out.\n"
    assert short.startswith("note: a webhook secret of fewer than 16 characters can be guessed.")


def test_a_secret_can_be_rotated(start: Start, script: Script) -> None:
    environ = {"WEBHOOK_SECRET": "new", "WEBHOOK_SECRET_PREVIOUS": "old"}
    server = start(script(ECHO), env=environ)
    answers = [server.post("plain", PULL, x_webhook_secret=s) for s in ("new", "old", "older")]
    assert [answer.status for answer in answers] == [200, 200, 401]


def test_settings_come_from_pyproject_too(start: Start, script: Script, tmp_path: Path) -> None:
    script("[tool.hfhooks]\nwait = 0\n", "pyproject.toml")
    server = start(script(ECHO), cwd=tmp_path)
    assert server.post("plain", PULL).status == 202


def test_the_pyproject_is_that_of_the_script_and_said_where_it_opens_the_machine(
    start: Start, script: Script, tmp_path: Path
) -> None:
    pyproject = script(f"[tool.hfhooks]\nstate_dir = '{tmp_path}/state'\n", "pyproject.toml")
    script("[tool.hfhooks]\nwait = 0\n", "elsewhere/pyproject.toml")
    path = script(ECHO, "bots/app.py")
    (tmp_path / "link").symlink_to(path.parent)
    server = start(tmp_path / "link" / "app.py", cwd=tmp_path / "elsewhere")
    assert server.post("plain", PULL).status == 200
    assert f"note: {pyproject} says state_dir = '{tmp_path}/state'.\n" in server.said


def test_a_pyproject_that_anybody_may_have_written_is_ignored(
    start: Start, script: Script, tmp_path: Path
) -> None:
    pyproject = script("[tool.hfhooks]\nwait = 0\nport = 1\n", "pyproject.toml")
    pyproject.chmod(0o666)
    server = start(script(ECHO), cwd=tmp_path)
    assert server.post("plain", PULL).status == 200
    assert server.said.count("pyproject.toml") == 1
    assert f"note: {pyproject} is ignored: everybody may write to it" in server.said
    assert server.said.partition("\n")[0].endswith(" To say the same: --wait 0 --port 1")


def test_a_reader_of_the_json_lines_that_leaves_does_not_stop_the_server(
    start: Start, script: Script
) -> None:
    command = [sys.executable, "-m", "hfhooks", "serve", str(script(ECHO)), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        ready = json.loads(process.stdout.readline())
        process.stdout.close()
        for _ in range(2):
            assert post(ready["endpoints"][1]["url"], PULL).status == 200
        process.terminate()
        assert process.wait(20) == 0
        said = process.stderr.read().decode().splitlines()
    assert [line for line in said if not line.startswith(WAITING)] == []


def test_other_json_types_are_refused_over_the_wire(start: Start, script: Script) -> None:
    server = start(script(ECHO))
    answer = request("POST", server.url("plain"), b"[]", JSON)
    assert (answer.status, answer.json()) == (400, {"error": "not_object"})


def looked(server: Any) -> tuple[int, int, list[str]]:
    """Return the statuses of /healthz and /readyz, and why they are what they are."""
    url = server.ready["local_url"]
    health, ready = [request("GET", url + path) for path in ("/healthz", "/readyz")]
    return health.status, ready.status, ready.json()["why"]


def test_where_the_script_cannot_be_loaded_any_more_it_is_healthy_and_not_ready(
    start: Start, script: Script
) -> None:
    server = start(path := script(ECHO), "--reload")
    assert looked(server) == (200, 200, [])
    path.write_text("1 / 0")
    wait_until(lambda: any(event["type"] == "reload" for event in server.events))
    assert looked(server) == (200, 200, [])  # the version before goes on
    for pid in server.worker_pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: looked(server) == (200, 503, ["the scripts cannot be loaded"]))
    assert server.post("model", PULL).status == 202
    path.write_text(ECHO)
    wait_until(lambda: looked(server) == (200, 200, []))
