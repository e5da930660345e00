import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hfhooks.model.samples import SAMPLES
from tests.harness import Server, run_command, wait_until

Script = Callable[..., Path]
Start = Callable[..., Any]

ONE = """
from hfhooks import Delivery, WebhookPayload, webhook_endpoint

@webhook_endpoint
def name(payload: WebhookPayload, delivery: Delivery):
    return {"name": payload.repo.name, "is_replay": delivery.is_replay,
            "webhook_id": delivery.webhook_id, "payload": payload.model_dump()}
"""
SEVERAL = """
from hfhooks import webhook_endpoint

@webhook_endpoint(on="repo.content")
def push(payload): return "push"

@webhook_endpoint(on="discussion")
def talk(payload): return "talk"

@webhook_endpoint(on="discussion.comment")
def comment(payload): return "comment"
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path_factory.mktemp("trigger")
    (folder / "app.py").write_text(ONE)
    env = {"XDG_STATE_HOME": str(folder), "WEBHOOK_SECRET": "a-secret-of-ours"}
    with Server(folder / "app.py", env=env) as server:
        assert server.ready
        yield server, folder


@pytest.fixture
def one(shared: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("XDG_STATE_HOME", str(shared[1]))
    return shared[0]


def answer(*arguments: str) -> Any:
    result = run_command("trigger", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("event", SAMPLES)
def test_every_event_can_be_sent(one: Server, event: str) -> None:
    got = answer(event)
    scope, _, action = event.partition(":")
    assert got["payload"]["event"] == {"scope": scope, "action": action}


def test_it_is_a_delivery_like_the_hubs_and_needs_no_secret(one: Server) -> None:
    got = answer("repo.content:update", "--repo", "dataset:me/data")
    assert (got["name"], got["is_replay"]) == ("me/data", False)
    assert got["webhook_id"] != answer("repo.content:update")["webhook_id"]
    wait_until(lambda: len(one.deliveries) > 1)
    assert not any(line["replay"] for line in one.deliveries)


def test_what_is_sent_can_be_chosen(one: Server) -> None:
    payload = answer(
        "repo.content:update",
        *("--repo", "dataset:me/data", "--ref", "refs/tags/v1", "--private"),
        *("--set", "repo.headSha=abc", "--set", "extra.list=[1, 2]", "--set", "repo.owner=null"),
    )["payload"]
    assert payload["updatedRefs"][0]["ref"] == "refs/tags/v1"
    assert (payload["repo"]["private"], payload["repo"]["headSha"]) == (True, "abc")
    assert (payload["extra"], "owner" in payload["repo"]) == ({"list": [1, 2]}, False)
    said = answer("discussion.comment:create", "--comment", "@bot hello")["payload"]
    assert said["comment"]["content"] == "@bot hello"


def test_a_pull_request_updates_its_ref_too(one: Server) -> None:
    result = run_command("trigger", "discussion:create", "--pr", "--json")
    first, second = (json.loads(line)["answer"]["payload"] for line in result.stdout.splitlines())
    assert first["discussion"]["isPullRequest"] is True
    assert second["updatedRefs"][0]["ref"] == "refs/pr/7"


def test_the_ref_of_a_pull_request_goes_where_it_is_wanted(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    result = run_command("trigger", "discussion:create", "--pr")
    assert result.stdout == '"talk"\n"push"\n'


def test_several_are_sent_one_after_the_other(one: Server) -> None:
    result = run_command("trigger", "repo:create", "--count", "3", "--every", "0.01", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["id"] - rows[0]["id"] for row in rows] == [0, 1, 2]
    assert {(row["status"], row["http_status"], row["endpoint"]) for row in rows} == {
        ("succeeded", 200, "name")
    }


def test_a_payload_is_saved_for_replay_and_nothing_overwritten(one: Server, tmp_path: Path) -> None:
    result = run_command("trigger", "repo:move", "--save", "payload.json", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == "note: saved. To send it: hfhooks replay payload.json\n"
    assert "movedTo" in json.loads((tmp_path / "payload.json").read_text())
    assert run_command("replay", "payload.json", cwd=tmp_path).returncode == 0
    again = run_command("trigger", "repo:move", "--save", "payload.json", cwd=tmp_path)
    assert (again.returncode, again.stderr.splitlines()[0]) == (
        2,
        "error: payload.json is there already.",
    )


def test_a_payload_goes_to_stdout_without_a_server() -> None:
    result = run_command("trigger", "repo:create", "--save", "-")
    assert json.loads(result.stdout)["event"] == {"action": "create", "scope": "repo"}


def test_what_is_no_text_is_saved_as_json_has_it(tmp_path: Path) -> None:
    result = run_command("trigger", "repo:update", "--set", 'repo.name="\\ud800"', "--save", "-")
    assert (result.returncode, "\\ud800" in result.stdout) == (0, True)


def test_the_events_are_listed_with_what_they_mean() -> None:
    result = run_command("trigger", "--list")
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(SAMPLES)
    rows = run_command("trigger", "--list", "--json").stdout.splitlines()
    assert {row["event"]: row["about"] for row in map(json.loads, rows)} == dict(SAMPLES)


def test_where_several_want_it_one_must_be_named(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    result = run_command("trigger", "discussion.comment:create")
    assert (result.returncode, "several endpoints want" in result.stderr) == (2, True)
    result = run_command("trigger", "discussion.comment:create", "--to", "comment")
    assert result.stdout == '"comment"\n'


def test_a_handler_that_fails_is_exit_code_1(start: Start, script: Script) -> None:
    text = "from hfhooks import *\n@webhook_endpoint\ndef a(payload): raise Discard('no')"
    assert start(script(text)).ready
    assert run_command("trigger", "repo:create").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["repo.contents:update"], "did you mean 'repo.content:update'?"),
        ([], "no event given."),
        (["repo:create", "--repo", "gpt2"], "write model:owner/name"),
        (["repo.content:update", "--ref", "main"], "did you mean 'refs/heads/main'?"),
        (["repo:create", "--set", "x"], "write KEY=VALUE"),
        (["repo:create", "--set", "repo.name.x=1"], "name is no object"),
        (["repo:create", "--count", "0"], "--count"),
        (["repo:create", "--every", "-1"], "--every"),
        (["repo:create", "--every", "1e300"], "--every"),
    ],
)
def test_wrong_usage_is_said_in_words(arguments: list[str], said: str) -> None:
    result = run_command("trigger", *arguments)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    result = run_command("trigger", "repo:create", "--save", str(tmp_path / "no" / "x.json"))
    assert (result.returncode, "no such file or directory" in result.stderr) == (5, True)


def test_without_a_server_it_says_how_to_start_one() -> None:
    result = run_command("trigger", "repo:create")
    assert (result.returncode, "no server is running" in result.stderr) == (3, True)


def test_on_a_terminal_the_answer_is_coloured(one: Server) -> None:
    import pty
    import subprocess
    import sys

    parent, child = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = [sys.executable, "-m", "hfhooks", "trigger", "repo:create"]
    with subprocess.Popen(
        command, stdout=child, stderr=child, stdin=child, env=env | {"TERM": "xterm"}
    ) as process:
        os.close(child)
        shown = b""
        while process.poll() is None or b"payload" not in shown:
            try:
                shown += os.read(parent, 65536)
            except OSError:
                break
    os.close(parent)
    assert b"\x1b[" in shown
    assert "✓ 200 succeeded".encode() in shown
