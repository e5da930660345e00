"""`hfhooks serve --reload` as a person sees it who edits a script."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import (
    COMMAND,
    Server,
    open_terminal,
    payload_bytes,
    request,
    run_command,
    wait_until,
)

Script = Callable[..., Path]
Start = Callable[..., Server]
PULL = payload_bytes("pr_create_v3_docs")


def versioned(number: int) -> str:
    return f"""
from hfhooks import webhook_endpoint

@webhook_endpoint
def version(payload):
    return {number}
"""


BROKEN = "from hfhooks import webhook_endpoint\n\ndef version(payload:\n"


def reloads(server: Server) -> list[dict[str, Any]]:
    return [event for event in server.events if event["type"] == "reload"]


def test_a_save_is_served_and_said(start: Start, script: Script) -> None:
    server = start(script(versioned(1)), "--reload")
    assert server.post("version", PULL).json() == 1
    script(versioned(2) + "\n@webhook_endpoint('/more', on='repo')\ndef more(payload): ...\n")
    [line] = wait_until(lambda: reloads(server))
    assert (line["ok"], [row["path"] for row in line["endpoints"]]) == (
        True,
        ["/webhooks/version", "/webhooks/more"],
    )
    assert line["endpoints"][1] == {
        "name": "more",
        "path": "/webhooks/more",
        "url": server.url("more"),
        "on": ["repo"],
        "repo": [],
        "ref": [],
        "secret": False,
    }
    assert 0 < line["duration_ms"] < 30_000
    assert server.post("version", PULL).json() == 2
    assert b"/webhooks/more" in request("GET", server.ready["local_url"]).body


def test_other_commands_learn_of_new_endpoints(start: Start, script: Script) -> None:
    server = start(script(versioned(1)), "--reload")
    port = server.url("").split(":")[2].split("/")[0]
    script(versioned(2).replace("def version", "def renamed"))
    wait_until(lambda: reloads(server))
    assert run_command("print-urls", "--port", port).stdout == server.url("renamed") + "\n"
    assert server.post("version", PULL).status == 404


def test_what_appears_and_vanishes_is_shown_to_a_person(start: Start, script: Script) -> None:
    server = start(script(versioned(1)), "--reload", as_json=False)
    wait_until(lambda: "Press Ctrl-C" in server.stderr, timeout=30)
    script(versioned(2).replace("def version", "def renamed"))
    wait_until(lambda: "  - /webhooks/version\n" in server.stderr)
    assert "  + /webhooks/renamed\n" in server.stderr
    assert "reloaded in" in server.stderr


def test_broken_code_is_said_once_and_the_old_goes_on(start: Start, script: Script) -> None:
    server = start(script(versioned(1)), "--reload")
    assert server.post("version", PULL).json() == 1
    path = script(BROKEN)
    [line] = wait_until(lambda: reloads(server))
    assert (line["ok"], line["file"], line["line"]) == (False, str(path), 3)
    assert line["error"].startswith("SyntaxError: ")
    wait_until(lambda: "the version before goes on" in server.stderr)
    assert "app.py:3: SyntaxError" in server.stderr
    assert server.post("version", PULL).json() == 1
    script(versioned(2))
    wait_until(lambda: len(reloads(server)) == 2)
    assert server.post("version", PULL).json() == 2


def test_an_exception_at_import_is_shown_with_the_users_own_frames(
    start: Start, script: Script
) -> None:
    server = start(script(versioned(1)), "--reload")
    assert server.ready
    script("def deep():\n    return {}['x']\n\ndeep()\n")
    wait_until(lambda: reloads(server))
    wait_until(lambda: "until a better one is saved" in server.stderr)
    assert "app.py:2: KeyError: 'x'" in server.stderr
    assert "in deep" in server.stderr and "hfhooks/worker" not in server.stderr


CLOSED = """
from pathlib import Path
from hfhooks import WebhooksServer

file = Path(__file__).with_name("secret.txt")
app = WebhooksServer(webhook_secret=file.read_text() if file.exists() else None)

@app.add_webhook
def version(payload):
    return {number}
"""


def test_a_secret_that_is_lost_in_a_save_opens_nothing(
    start: Start, script: Script, tmp_path: Path
) -> None:
    file = tmp_path / "secret.txt"
    file.write_text("the-first-secret")
    server = start(script(CLOSED.format(number=1)), "--reload")
    assert server.post("version", PULL).status == 401
    file.unlink()
    script(versioned(2).replace("def version", "def another"))  # it has vanished meanwhile
    wait_until(lambda: len(reloads(server)) == 1)
    script(CLOSED.format(number=3))
    wait_until(lambda: len(reloads(server)) == 2)
    assert server.post("version", PULL).status == 401
    assert server.post("version", PULL, x_webhook_secret="the-first-secret").json() == 3
    wait_until(lambda: "/webhooks/version has no secret any more" in server.stderr)
    file.write_text("the-second-secret")
    script(CLOSED.format(number=4))
    wait_until(lambda: len(reloads(server)) == 3)
    assert server.post("version", PULL, x_webhook_secret="the-first-secret").status == 401
    assert server.post("version", PULL, x_webhook_secret="the-second-secret").json() == 4
    server.stop()
    file.unlink()
    anew = start(tmp_path / "app.py", "--reload")
    assert anew.post("version", PULL).json() == 4


def test_a_first_version_that_is_broken_may_be_mended(
    start: Start, script: Script, tmp_path: Path
) -> None:
    """And what the version before took in is taken in meanwhile."""
    state = ("--state-dir", tmp_path / "state")
    first = start(script(versioned(1)), *state)
    assert first.post("version", PULL).json() == 1
    first.stop()
    script(BROKEN)
    server = start(tmp_path / "app.py", *state, "--reload", "--wait", "0.1", "--port", "0")
    [line] = wait_until(lambda: reloads(server), timeout=30)
    assert line["ok"] is False
    base = f"http://127.0.0.1:{listening_port(server)}"
    url = f"{base}/webhooks/"
    headers = {"content-type": "application/json"}
    wait_until(lambda: request("GET", base + "/healthz").status == 200)
    ready = request("GET", base + "/readyz")
    assert (ready.status, ready.json()["why"]) == (503, ["the scripts cannot be loaded"])
    assert request("POST", url + "version", PULL, headers).status == 202
    assert request("POST", url + "unknown", PULL, headers).status == 503
    script(versioned(2))
    wait_until(lambda: server.deliveries)
    assert [event["type"] for event in server.events] == ["reload", "ready", "delivery"]
    assert server.deliveries[0]["status"] == "succeeded"


def listening_port(server: Server) -> int:
    """Return the port for deliveries, before the server has said it."""
    connections = psutil.Process(server.process.pid).net_connections("tcp")
    ports = [each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN]
    [port] = [
        port
        for port in ports
        if request("GET", f"http://127.0.0.1:{port}/healthz").status in (200, 503)
    ]
    return int(port)


def test_without_reload_a_broken_version_ends_the_server(start: Start, script: Script) -> None:
    server = start(script(BROKEN), "--no-reload")
    assert server.process.wait(30) == 3


def test_without_reload_nothing_is_watched_and_nobody_stands_by(
    start: Start, script: Script
) -> None:
    server = start(script(versioned(1)))
    assert server.post("version", PULL).json() == 1
    assert len(server.worker_pids) == 1
    script(versioned(2))
    assert server.post("version", PULL).json() == 1


def test_what_raised_is_tried_again_with_the_new_code(start: Start, script: Script) -> None:
    server = start(script(versioned(1).replace("return 1", "1 / 0")), "--reload")
    for _ in range(2):
        assert server.post("version", PULL).json()["status"] == "retrying"
    script(versioned(2))
    wait_until(lambda: len(server.deliveries) == 4)
    assert [line["status"] for line in server.deliveries[2:]] == ["succeeded"] * 2
    assert "note: 2 deliveries retried with the new code.\n" in server.stderr


def test_a_local_module_of_the_same_size_and_second_is_seen(
    start: Start, script: Script, tmp_path: Path
) -> None:
    """A .pyc that is trusted by time and size would hide it."""
    main = "from hfhooks import webhook_endpoint\nfrom local import V\n"
    main += "@webhook_endpoint\ndef version(payload): return V\n"
    local = script("V = 1\n", "local.py")
    os.utime(local, (1_700_000_000, 1_700_000_000))
    server = start(script(main), "--reload", env={"PYTHONDONTWRITEBYTECODE": ""})
    assert server.post("version", PULL).json() == 1
    draft = script("V = 2\n", "draft.txt")
    os.utime(draft, (1_700_000_000, 1_700_000_000))
    draft.replace(local)
    wait_until(lambda: reloads(server))
    assert server.post("version", PULL).json() == 2


def test_a_data_file_counts_as_part_of_the_script(
    start: Start, script: Script, tmp_path: Path
) -> None:
    data = tmp_path / "data" / "labels.json"
    data.parent.mkdir()
    data.write_text("1")
    text = versioned(1).replace("return 1", f"return int(open({str(data)!r}).read())")
    server = start(script(text), "--reload", "--watch", data.parent)
    assert server.post("version", PULL).json() == 1
    data.write_text("2")
    wait_until(lambda: reloads(server))


def test_what_is_not_there_cannot_be_watched(script: Script, tmp_path: Path) -> None:
    result = run_command("serve", str(script(versioned(1))), "--watch", str(tmp_path / "nowhere"))
    assert result.returncode == 2
    assert f"--watch {tmp_path / 'nowhere'}: no such file or folder." in result.stderr


def test_a_missing_module_may_be_written_afterwards(start: Start, script: Script) -> None:
    server = start(script(versioned(1)), "--reload")
    assert server.ready
    script("import later\n" + versioned(2))
    wait_until(lambda: reloads(server))
    script("", "later.py")
    wait_until(lambda: len(reloads(server)) == 2)
    assert server.post("version", PULL).json() == 2


def test_a_script_that_comes_into_a_folder_is_served(
    start: Start, script: Script, tmp_path: Path
) -> None:
    script(versioned(1), "bots/one.py")
    server = start(tmp_path / "bots", "--reload")
    assert server.ready
    script(versioned(2).replace("version", "two"), "bots/two.py")
    wait_until(lambda: reloads(server))
    assert server.post("two", PULL).json() == 2
    assert server.post("version", PULL).json() == 1


def test_what_waits_for_an_endpoint_runs_when_it_returns(start: Start, script: Script) -> None:
    text = versioned(1).replace("return 1", "1 / 0")
    server = start(script(text), "--reload")
    assert server.post("version", PULL).json()["status"] == "retrying"
    script(versioned(1).replace("version", "other"))
    wait_until(lambda: reloads(server))
    assert server.post("other", PULL).json() == 1
    script(versioned(3))
    wait_until(lambda: any(line["endpoint"] == "version" for line in server.deliveries[2:]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nobody_outlives_the_gateway(start: Start, script: Script, number: int) -> None:
    server = start(script(versioned(1)), "--reload")
    assert server.ready
    wait_until(lambda: len(server.worker_pids) == 2)
    pids = server.worker_pids
    server.stop(number)
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), timeout=2)


def test_what_is_in_flight_is_answered_by_the_code_it_was_sent_to(
    start: Start, script: Script, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    waiting = f"""
import pathlib, time
from hfhooks import webhook_endpoint

@webhook_endpoint
def version(payload):
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    while not pathlib.Path({str(go_on)!r}).exists():
        time.sleep(0.01)
    return 1
"""
    server = start(script(waiting), "--reload", "--wait", "60")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(server.post, "version", PULL)
        wait_until((tmp_path / "begun").exists, timeout=30)
        script(versioned(2))
        wait_until(lambda: reloads(server))
        assert server.post("version", PULL).json() == 2
        assert not first.done()
        go_on.touch()
        assert first.result().json() == 1


def test_while_a_version_takes_long_to_load_the_one_before_answers(
    start: Start, script: Script
) -> None:
    server = start(script(versioned(1)), "--reload")
    assert server.post("version", PULL).json() == 1
    begun = script("", "begun.txt")
    script(f"open({str(begun)!r}, 'w').write('x')\nimport time\ntime.sleep(1)\n" + versioned(2))
    wait_until(begun.read_text)
    answers = [server.post("version", PULL).json() for _ in range(10)]
    assert set(answers) == {1} and not reloads(server)
    wait_until(lambda: server.post("version", PULL).json() == 2)


@pytest.mark.parametrize(
    ("env", "options", "reloads"),
    [({}, (), True), ({}, ("--no-reload",), False), ({"SPACE_ID": "me/space"}, (), False)],
)
def test_at_a_terminal_it_reloads_unless_told_otherwise(
    script: Script, env: dict[str, str], options: tuple[str, ...], reloads: bool
) -> None:
    command = [*COMMAND, "serve", str(script(versioned(1))), "--port", "0", *options]
    process, ours = open_terminal(command, None, os.environ | env)
    shown = b""
    while b"Press Ctrl-C" not in shown:
        shown += os.read(ours, 4096)
    process.terminate()
    with suppress(OSError):  # the terminal is gone with it
        while os.read(ours, 4096):
            pass
    assert process.wait(30) == 0
    os.close(ours)
    assert (b"What you save is loaded at once." in shown) is reloads
