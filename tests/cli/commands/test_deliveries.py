import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfhooks.cli.journals import now, reading, recorded
from hfhooks.cli.payload_files import read_payloads
from hfhooks.model import views
from hfhooks.model.exported import Exported
from hfhooks.model.running_server import RunningServer
from hfhooks.model.sending import JSON, Request, replayed
from hfhooks.serving.owner import send
from tests.harness import (
    COMMAND,
    Server,
    at_terminal,
    payload_bytes,
    run_command,
    run_raw,
    wait_until,
)

Script = Callable[..., Path]
Start = Callable[..., Any]

PULL = payload_bytes("pr_create_v3_docs")
PUSH = payload_bytes("repo_content_update_main_v3_captured")
DATASET = payload_bytes("dataset_content_update_main_v3_built")
TEXT = """
from pathlib import Path
from fastapi import Request
from hfhooks import Discard, webhook_endpoint

broken = Path(__file__).with_name("broken")

@webhook_endpoint(on="repo.content")
def push(payload): return {"pushed": payload.repo.name}

@webhook_endpoint(retries=0)
def talk(payload):
    if broken.exists():
        raise RuntimeError("the bot is broken")
    return "talked"

@webhook_endpoint
async def raw(request: Request):
    from fastapi import Response
    return Response(await request.body())
"""


def filled(server: Server, folder: Path) -> Server:
    """Give a server four deliveries: two that succeeded, one that failed, one ignored."""
    (folder / "broken").touch()
    server.post("push", PUSH, webhook_id="w1")
    server.post("talk", PULL)
    server.post("push", PULL)
    server.post("push", DATASET)
    wait_until(lambda: len(server.deliveries) == 4)
    return server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path_factory.mktemp("deliveries")
    (folder / "app.py").write_text(TEXT)
    with Server(folder / "app.py", env={"XDG_STATE_HOME": str(folder)}) as server:
        yield filled(server, folder), folder


@pytest.fixture
def server(shared: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that tests only look at."""
    monkeypatch.setenv("XDG_STATE_HOME", str(shared[1]))
    return shared[0]


@pytest.fixture
def own(start: Start, script: Script, tmp_path: Path) -> Any:
    """A server of one test."""
    return filled(start(script(TEXT)), tmp_path)


def listed(*arguments: str) -> list[dict[str, Any]]:
    result = run_command("deliveries", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def ids(*arguments: str) -> list[int]:
    return [row["id"] for row in listed(*arguments)]


def test_each_is_a_line_the_newest_last(server: Server) -> None:
    result = run_command("deliveries")
    head, *lines = result.stdout.splitlines()
    assert head.split() == [
        "id",
        "received",
        "status",
        "http",
        "attempts",
        "took",
        "endpoint",
        "event",
        "repo",
    ]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert "✓ succeeded" in lines[0] and "model:coyotte508/test-s3" in lines[0]
    assert "✗ failed" in lines[1] and "discussion:create" in lines[1]
    assert "· ignored" in lines[2]


def test_json_has_what_programs_need(server: Server) -> None:
    row = listed()[0]
    received_at = datetime.fromisoformat(row.pop("received_at"))
    assert abs(received_at - datetime.now(UTC)) < timedelta(minutes=10)
    assert row.pop("duration_ms") > 0
    assert row == {
        "id": 1,
        "endpoint": "push",
        "event": "repo.content:update",
        "repo": "model:coyotte508/test-s3",
        "webhook_id": "w1",
        "origin": "hub",
        "replay": False,
        "status": "succeeded",
        "http_status": 200,
        "sent_status": 200,
        "attempt_count": 1,
        "due_at": None,
        "pending_after": False,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--endpoint", "push"], [1, 3, 4]),
        (["--endpoint", "/webhooks/push"], [1, 3, 4]),
        (["--status", "failed"], [2]),
        (["--status", "ignored"], [3]),
        (["--event", "repo"], [1, 4]),
        (["--event", "repo.content:update"], [1, 4]),
        (["--event", "discussion"], [2, 3]),
        (["--event", "repo:create"], []),
        (["--repo", "dataset:*"], [4]),
        (["--repo", "coyotte508/*"], [1]),
        (["--limit", "2"], [3, 4]),
        (["--since", "1h"], [1, 2, 3, 4]),
        (["--since", "0s"], []),
        (["--endpoint", "push", "--status", "succeeded"], [1, 4]),
    ],
)
def test_filters_choose(server: Server, arguments: list[str], expected: list[int]) -> None:
    assert ids(*arguments) == expected


def test_none_is_said(server: Server) -> None:
    result = run_command("deliveries", "--status", "queued")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "note: no deliveries.\n")


def test_follow_goes_on_with_those_that_come(own: Any) -> None:
    command = [*COMMAND, "deliveries", "--follow", "--json", "--limit", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert json.loads(following.stdout.readline())["id"] == 4
        own.post("push", PUSH)
        assert json.loads(following.stdout.readline())["id"] == 5
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130


def test_follow_shows_what_becomes_of_what_was_not_finished(
    start: Start, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    server = start(script(TEXT.replace("retries=0", "retries=1")))
    server.post("talk", PULL)
    wait_until(lambda: [line["status"] for line in server.deliveries] == ["retrying"])
    command = [*COMMAND, "deliveries", "--follow", "--json", "--status", "failed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        server.post("push", PUSH)
        row = json.loads(following.stdout.readline())
        assert (row["id"], row["status"], row["attempt_count"]) == (1, "failed", 2)
        following.terminate()


def test_follow_ends_with_its_reader(own: Any) -> None:
    command = [*COMMAND, "deliveries", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout and following.stdout.readline()
        following.stdout.close()

        def has_ended() -> bool:
            own.post("push", PUSH)
            return following.poll() is not None

        wait_until(has_ended)
        assert following.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [[], ["--json"], ["show", "1"], ["show", "1", "--json"]])
def test_what_could_not_be_printed_is_said(server: Server, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, "deliveries", *arguments]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (found.returncode, found.stderr.startswith("error: stdout: ")) == (5, True)


def test_without_a_server_nothing_else_is_deleted(own: Any, tmp_path: Path) -> None:
    own.stop()
    env = {"HFHOOKS_KEEP_DELIVERIES": "1"}
    app = str(tmp_path / "app.py")
    assert run_command("deliveries", "retry", "2", "--script", app, env=env).returncode == 0
    assert ids("--script", app) == [1, 2, 3, 4]


def test_what_the_hub_has_sent_again_is_not_retried(own: Any, tmp_path: Path) -> None:
    own.post("talk", PULL, webhook_id="again")
    (tmp_path / "broken").unlink()
    own.post("talk", PULL, webhook_id="again")
    result = run_command("deliveries", "retry", "5")
    assert (result.returncode, "was sent again since" in result.stderr) == (1, True)


def test_a_curl_command_is_for_the_server_that_has_it(
    own: Any, start: Start, script: Script, tmp_path: Path
) -> None:
    url = own.ready["local_url"]
    other = start(script(TEXT, "two.py"))
    assert other.ready
    first = ["export", "1", "--curl", "--script", str(tmp_path / "app.py")]
    assert f"{url}/webhooks/push" in run_command("deliveries", *first).stdout
    own.stop()
    assert "http://127.0.0.1:7860/" in run_command("deliveries", *first).stdout


def test_what_cannot_be_exported_is_said(own: Any, start: Start, script: Script) -> None:
    own.post("raw", b"x" * 200_000)
    large = run_command("deliveries", "export", "5", "--curl")
    assert (large.returncode, "too large for a command line" in large.stderr) == (2, True)
    own.stop()
    named = start(script(TEXT, "my-app.py"))
    named.post("push", PUSH)
    test = run_command("deliveries", "export", "1", "--pytest")
    assert (test.returncode, "a test cannot import 'my-app'" in test.stderr) == (2, True)


def test_show_has_the_payload_and_every_attempt(server: Server) -> None:
    result = run_command("deliveries", "show", "2")
    assert result.stdout.startswith("#2  ✗ failed  talk  discussion:create")
    assert '"title": "Update co2 emissions"' in result.stdout
    assert "attempt 1  raised 500" in result.stdout
    assert "RuntimeError: the bot is broken" in result.stdout
    shown = run_command("deliveries", "show", "1").stdout
    assert "webhook-id  w1" in shown
    assert '{"pushed":"coyotte508/test-s3"}' in shown


def test_show_as_json(server: Server) -> None:
    row = json.loads(run_command("deliveries", "show", "1", "--json").stdout)
    assert (row["id"], row["status"], row["body"].encode()) == (1, "succeeded", PUSH)
    [attempt] = row["attempts"]
    assert json.loads(attempt["answer"]) == {"pushed": "coyotte508/test-s3"}
    assert (attempt["number"], attempt["status"], attempt["http_status"]) == (1, "succeeded", 200)
    assert attempt["duration_ms"] == row["duration_ms"]


def test_what_two_commands_say_of_a_delivery_is_the_same(server: Server) -> None:
    for row in listed():
        shown = json.loads(run_command("deliveries", "show", str(row["id"]), "--json").stdout)
        assert row == {name: shown[name] for name in row}
        assert len(shown["attempts"]) == shown["attempt_count"]


def test_an_export_is_replayed(own: Any, tmp_path: Path) -> None:
    result = run_command("deliveries", "export", "1")
    (tmp_path / "delivery.json").write_text(result.stdout)
    again = run_command("replay", str(tmp_path / "delivery.json"))
    assert json.loads(again.stdout) == {"pushed": "coyotte508/test-s3"}
    last = listed("--limit", "1")[0]
    assert (last["endpoint"], last["replay"]) == ("push", True)
    assert "webhook-id  w1" in run_command("deliveries", "show", str(last["id"])).stdout


def test_a_curl_command_sends_it(own: Any) -> None:
    command = run_command("deliveries", "export", "1", "--curl").stdout
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["status"] == "duplicate"


BODIES = [
    b'{"event": {"scope":"repo","action":"update"}, "x": 1e999, "x":   2}',
    '{"a":  "\u00e9 \U0001f917 \u202e"}\n\n'.encode(),
    b'{"a": "\\ud800"}',
    b"\xff\xfe\x00 no text",
    b"",
    b'{"token": "hf_abcdefghijklmnopqrstuvwxyz"}',
]


@pytest.mark.parametrize("body", BODIES)
def test_the_bytes_stay_as_they_came(own: Any, tmp_path: Path, body: bytes) -> None:
    own.post("raw", body)
    id = str(listed("--limit", "1")[0]["id"])
    assert run_raw("deliveries", "show", id, "--payload").stdout == body
    exported = run_raw("deliveries", "export", id)
    (tmp_path / "delivery.json").write_bytes(exported.stdout)
    assert run_command("replay", str(tmp_path / "delivery.json")).returncode == 0
    newest = str(listed("--limit", "1")[0]["id"])
    again = run_raw("deliveries", "show", newest, "--payload")
    assert (newest != id, again.stdout) == (True, body)


ODD_NUMBERS = st.sampled_from(["1e999", "-0", "1E+2", "9" * 400, "0.10"])
KEYS = st.sampled_from(["event", "repo", "a", "\u00e9", "\U0001f917"])
SPACES = st.text(" \t\r\n", max_size=3)


@st.composite
def odd_payloads(draw: st.DrawFn) -> bytes:
    """Return JSON as nobody's encoder writes it: keys twice, odd spacing, odd numbers."""
    members = draw(st.lists(st.tuples(KEYS, ODD_NUMBERS | st.text().map(json.dumps))))
    texts = [f"{draw(SPACES)}{json.dumps(key)}:{draw(SPACES)}{value}" for key, value in members]
    text = f"{draw(SPACES)}{{{','.join(texts)}{draw(SPACES)}}}{draw(SPACES)}"
    return text.encode("utf-8", "surrogatepass" if draw(st.booleans()) else "replace")


@given(odd_payloads() | st.binary() | st.text().map(str.encode))
@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_came_survives_export_replay_and_show(
    raw: tuple[RunningServer, Path], body: bytes
) -> None:
    server, file = raw
    first = send(server, Request("/webhooks/raw", body, JSON))
    with reading(server.journal) as journal:
        original = recorded(journal, first.id or 0)
        assert original.body == body
        file.write_text(json.dumps(views.exported(Exported.of(original))))
        [read] = read_payloads(str(file))
        again = send(server, replayed([each.endpoint for each in server.endpoints], read))
        copy = now(journal.get(again.id or 0))
    assert (first.body, again.body) == (body, body)
    assert copy and (copy.body, copy.origin) == (body, "replay")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server that gives back what it gets, and a file to export to."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "app.py").write_text(TEXT)
    with Server(folder / "app.py", env={"XDG_STATE_HOME": str(folder)}) as server:
        assert server.ready
        [announced] = (folder / "hfhooks" / "servers").glob("*.json")
        found = RunningServer.from_json(json.loads(announced.read_text()))
        yield found, folder / "delivery.json"


def test_what_failed_is_retried(own: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").unlink()
    result = run_command("deliveries", "retry", "2")
    assert (result.returncode, result.stderr) == (0, "note: to be handled again: 1 delivery.\n")
    wait_until(lambda: listed("--limit", "3")[0]["status"] == "succeeded")
    assert listed("--limit", "3")[0]["attempt_count"] == 2


def test_all_that_failed_are_retried(own: Any, tmp_path: Path) -> None:
    (tmp_path / "broken").unlink()
    result = run_command("deliveries", "retry", "--failed")
    assert result.stderr == "note: to be handled again: 1 delivery.\n"
    wait_until(lambda: not ids("--status", "failed"))


def test_what_has_not_failed_is_not_retried(server: Server) -> None:
    result = run_command("deliveries", "retry", "1")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: delivery 1 has not failed: it is succeeded.",
        "help: To have it handled once more all the same: hfhooks replay 1",
    ]


def test_pruning_deletes_what_is_finished(own: Any) -> None:
    result = run_command("deliveries", "prune", "--older-than", "1h")
    assert result.stderr == "note: deleted: 0 deliveries.\n"
    question = b"Delete all deliveries that are finished? [y/N]"
    assert at_terminal("deliveries", "prune", "--all", answer=(question, b"n\n")).returncode == 1
    assert len(ids()) == 4
    result = run_command("deliveries", "prune", "--all", "--yes")
    assert result.stderr == "note: deleted: 4 deliveries.\n"
    assert ids() == []


def test_all_of_it_works_without_a_server(own: Any, tmp_path: Path) -> None:
    own.stop()
    app = str(tmp_path / "app.py")
    result = run_command("deliveries")
    assert "no server is running; these are the deliveries of app" in result.stderr
    assert len(result.stdout.splitlines()) == 5
    assert ids("--script", app) == [1, 2, 3, 4]
    assert run_command("deliveries", "show", "1", "--payload").stdout.encode() == PUSH
    said = run_command("deliveries", "retry", "--failed", "--script", app).stderr
    assert said == "note: to be handled again, when the next server starts: 1 delivery.\n"
    assert ids("--script", app, "--status", "queued") == [2]
    said = run_command("deliveries", "prune", "--all", "--yes", "--script", app).stderr
    assert said == "note: deleted: 3 deliveries.\n"
    assert ids("--script", app) == [2]


def test_after_kill_9_it_is_read_all_the_same(own: Any) -> None:
    own.process.kill()
    own.process.wait()
    assert ids() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--status", "faild"], 2, "did you mean 'failed'?"),
        (["--since", "yesterday"], 2, "is no age: write 90s, 30m, 2h or 7d."),
        (["--limit", "0"], 2, "--limit"),
        (["show", "404"], 2, "no delivery 404 is recorded."),
        (["show", "9" * 20], 2, "is recorded."),
        (["show", "-1"], 2, "no such option"),
        (["retry", "9" * 20], 2, "is recorded."),
        (["--limit", "9" * 20], 2, "--limit"),
        (["--script", "app.py", "prune", "--all"], 2, "options stand behind the command"),
        (["--port", "1", "show", "1"], 2, "options stand behind the command"),
        (["show", "x"], 2, "ID x: a whole number is needed."),
        (["show"], 2, "missing argument"),
        (["export", "404"], 2, "no delivery 404 is recorded."),
        (["export", "1", "--curl", "--pytest"], 2, "two things"),
        (["retry"], 2, "name a delivery, or say --failed."),
        (["retry", "1", "--failed"], 2, "name a delivery, or say --failed."),
        (["retry", "404"], 2, "no delivery 404 is recorded."),
        (["prune", "--all"], 2, "this deletes all that are finished."),
        (["--event", "foo"], 2, "no event 'foo', valid: repo, "),
        (["--event", "repo.contnet"], 2, "no event 'repo.contnet', did you mean 'repo.content'?"),
        (["--endpoint", "psuh"], 2, "no endpoint 'psuh', did you mean 'push'?"),
        (["--limit", "0"], 2, "--limit 0: it is at least 1."),
        (["prune"], 2, "say --older-than AGE, or --all."),
        (["prune", "--older-than", "7"], 2, "is no age"),
        (["--script", "nope.py"], 3, "no deliveries of nope.py are recorded."),
        (["shwo", "1"], 2, "no command 'shwo'"),
    ],
)
def test_what_is_wrong_is_said(server: Server, arguments: list[str], code: int, said: str) -> None:
    result = run_command("deliveries", *arguments)
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr
    assert result.stdout == ""


def test_without_any_journal_it_says_how_to_start() -> None:
    result = run_command("deliveries")
    assert result.returncode == 3
    assert result.stderr.splitlines() == [
        "error: no deliveries are recorded.",
        "help: Start a server: hfhooks serve SCRIPT.py",
    ]


def test_of_several_servers_one_must_be_chosen(own: Any, start: Start, script: Script) -> None:
    second = start(script(TEXT, "two.py"))
    port = second.ready["local_url"].rpartition(":")[2]
    assert run_command("deliveries").returncode == 2
    assert ids("--port", port) == []


def test_on_a_terminal_the_status_is_coloured(server: Server) -> None:
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = [sys.executable, "-m", "hfhooks", "deliveries"]
    found = subprocess.run(command, capture_output=True, env=env | {"FORCE_COLOR": "1"}, check=True)
    assert b"\x1b[32m" in found.stdout and b"\x1b[31m" in found.stdout
    plain = subprocess.run(command, capture_output=True, check=True)
    assert b"\x1b[" not in plain.stdout


STEERING = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2066\u200b\u2028\r\b"
STEERED = ("\x1b]0", "\x1b[2J", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028", "\x07", "\b")


@pytest.mark.parametrize(
    "arguments",
    [
        ["deliveries"],
        ["deliveries", "show", "1"],
        ["deliveries", "show", "1", "--payload"],
        ["deliveries", "export", "1"],
        ["deliveries", "export", "1", "--curl"],
        ["deliveries", "export", "1", "--pytest"],
        ["explain", "1"],
        ["replay", "1"],
    ],
    ids=" ".join,
)
def test_nothing_that_came_steers_a_terminal(
    arguments: list[str], start: Start, script: Script
) -> None:
    server = start(
        script(f"{TEXT}\n@webhook_endpoint\ndef all(payload): return payload.model_dump()")
    )
    scope, action = f"repo{STEERING}", f"update{STEERING}"
    event = {"scope": scope, "action": action}
    body = {"event": event, "repo": {"type": "model", "name": f"me/{STEERING}"}, STEERING: STEERING}
    raw = json.dumps(body, ensure_ascii=False).replace("\x1b", "\\u001b").replace("\b", "\\b")
    raw = raw.replace("\r", "\\r").replace("\x07", "\\u0007")
    server.post("all", raw.encode())
    wait_until(lambda: server.deliveries)
    shown = at_terminal(*arguments, env={"NO_COLOR": "1"}).stdout
    left = re.sub("\x1b\\[K", "", shown)  # ours, at the end of what says how far it is
    assert shown and not [each for each in STEERED if each in left]
    assert "\x1b" not in left


def test_a_script_s_pyproject_says_where_its_deliveries_are(
    start: Start, script: Script, tmp_path: Path
) -> None:
    pyproject = script(f"[tool.hfhooks]\nstate_dir = '{tmp_path}/state'\n", "pyproject.toml")
    server = start(script(TEXT), cwd=tmp_path)
    filled(server, tmp_path)
    server.stop()
    result = run_command("deliveries", "--script", "app.py", "--json", cwd=tmp_path)
    assert (len(result.stdout.splitlines()), result.stderr) == (4, "")
    pyproject.chmod(0o666)
    for names in ((), ("--script", "app.py")):
        result = run_command("deliveries", *names, cwd=tmp_path)
        assert result.stderr.startswith(f"note: {pyproject} is ignored: everybody may write to it")
        same = f" To say the same: HFHOOKS_STATE_DIR={tmp_path}/state"
        assert result.stderr.partition("\n")[0].endswith(same)
        assert result.returncode == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for files of another user")
def test_what_the_owner_of_the_script_says_counts_for_it_alone(
    start: Start, script: Script, tmp_path: Path
) -> None:
    pyproject = script(f"[tool.hfhooks]\nstate_dir = '{tmp_path}/state'\n", "pyproject.toml")
    app = script(TEXT)
    for path in (pyproject, app):
        os.chown(path, 65534, 65534)
    server = start(app, cwd=tmp_path)
    filled(server, tmp_path)
    server.stop()
    assert server.said.count("pyproject.toml") == 1
    assert (
        len(
            run_command(
                "deliveries", "--script", "app.py", "--json", cwd=tmp_path
            ).stdout.splitlines()
        )
        == 4
    )
    result = run_command("deliveries", cwd=tmp_path)
    assert f"{pyproject} is ignored: it belongs to " in result.stderr
    assert result.returncode == 3


HELD = """
import time
from pathlib import Path
from hfhooks import webhook_endpoint

def held(payload):
    Path(__file__).with_name("begun").touch()
    while not Path(__file__).with_name("go").exists():
        time.sleep(0.01)

webhook_endpoint("/train", max_concurrency=1)(held)
webhook_endpoint("/deploy", max_concurrency=1)(held)
"""
ONE = """
from hfhooks import webhook_endpoint

@webhook_endpoint
def train(payload): ...
"""


@pytest.fixture
def holding(start: Start, script: Script, tmp_path: Path) -> Any:
    """A server with 1 running and 2 waiting for one endpoint, 3 and 4 so for another."""
    server = start(script(HELD), "--wait", "0", "--grace", "0")
    for name in ("train", "train", "deploy", "deploy"):
        server.post(name, PUSH)
    wait_until((tmp_path / "begun").exists)
    wait_until(lambda: ids("--status", "running") == [1, 3])
    return server


def cancel(*arguments: str) -> str:
    result = run_command("deliveries", "cancel", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_what_waits_and_what_runs_is_cancelled(holding: Any, tmp_path: Path) -> None:
    assert cancel("1", "--yes") == "note: cancelled: 1 delivery.\n"
    assert ids("--status", "cancelled") == [1]
    [attempt] = json.loads(run_command("deliveries", "show", "1", "--json").stdout)["attempts"]
    assert attempt["status"] == "cancelled"
    assert ids("--status", "running") == [3]  # nobody takes its thread from the first one
    assert cancel("--endpoint", "/webhooks/deploy", "--yes") == "note: cancelled: 2 deliveries.\n"
    wait_until(lambda: ids("--status", "running") == [2], timeout=30)  # in another worker
    (tmp_path / "go").touch()
    wait_until(lambda: ids("--status", "succeeded") == [2])
    assert ids("--status", "cancelled") == [1, 3, 4]
    assert cancel("--orphans", "--yes") == "note: cancelled: 0 deliveries.\n"


def test_what_is_left_of_an_endpoint_that_is_gone_is_cancelled(
    holding: Any, start: Start, script: Script, tmp_path: Path
) -> None:
    holding.stop()
    server = start(script(ONE))
    wait_until(lambda: ids("--status", "succeeded") == [1, 2])
    assert cancel("--orphans", "--yes") == "note: cancelled: 2 deliveries.\n"
    assert ids("--status", "cancelled") == [3, 4]
    server.stop()
    assert start(script(HELD)).ready["endpoints"][0]["name"] == "train"
    assert ids("--status", "cancelled") == [3, 4]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2", "4"], [2, 4]),
        (["--endpoint", "train"], [1, 2]),
        (["--orphans"], []),
    ],
)
def test_without_a_server_it_is_cancelled_too(
    holding: Any, tmp_path: Path, arguments: list[str], expected: list[int]
) -> None:
    holding.stop()
    app = ["--script", str(tmp_path / "app.py")]
    number = "1 delivery" if len(expected) == 1 else f"{len(expected)} deliveries"
    assert cancel(*arguments, "--yes", *app) == f"note: cancelled: {number}.\n"
    assert ids("--status", "cancelled", *app) == expected


def test_a_person_is_asked_and_nobody_else(holding: Any) -> None:
    result = run_command("deliveries", "cancel", "1", "2")
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "error: these are 2 deliveries, 1 of which running.",
        "help: If that is meant: --yes",
    ]
    question = b"Cancel 2 deliveries, 1 of which running? [y/N]"
    for typed, code in ((b"n\n", 1), (b"y\n", 0)):
        asked = at_terminal("deliveries", "cancel", "1", "2", answer=(question, typed))
        assert asked.returncode == code, asked.stdout
    assert ids("--status", "cancelled") == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "name deliveries, or say --endpoint NAME, or --orphans."),
        (["1", "--orphans"], 2, "name deliveries, or say"),
        (["--endpoint", "nope", "--yes"], 2, "no endpoint 'nope', valid: "),
        (["404", "1", "--yes"], 2, "no delivery 404 is recorded."),
        (["1", "--yes"], 1, "delivery 1 neither waits nor runs: it is succeeded."),
        (["x"], 2, "ID x: a whole number is needed."),
    ],
)
def test_what_cannot_be_cancelled_is_said(
    server: Server, arguments: list[str], code: int, said: str
) -> None:
    result = run_command("deliveries", "cancel", *arguments)
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr
