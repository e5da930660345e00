import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import COMMAND, at_terminal, run_command, wait_until

Script = Callable[..., Path]
Start = Callable[..., Any]

PULL = Path(__file__).parents[2] / "payloads" / "pr_create_v3_docs.json"
PUSH = PULL.with_name("repo_content_update_main_v3_captured.json")
ONE = """
from hfhooks import WebhookPayload, webhook_endpoint

@webhook_endpoint
def name(payload: WebhookPayload):
    return {"name": payload.repo.name}
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


def test_a_file_is_sent_and_the_answer_shown(start: Start, script: Script) -> None:
    server = start(script(ONE))
    assert server.ready
    result = run_command("replay", str(PULL))
    assert (result.returncode, json.loads(result.stdout)) == (0, {"name": "openai-community/gpt2"})
    assert result.stderr.startswith("✓ 200 succeeded  name  ")
    assert result.stderr.endswith(" ms  #1\n")
    wait_until(lambda: [line["replay"] for line in server.deliveries] == [True])


def test_stdin_is_a_file_too(start: Start, script: Script) -> None:
    assert start(script(ONE)).ready
    result = run_command("replay", "-", stdin=PULL.read_bytes())
    assert json.loads(result.stdout) == {"name": "openai-community/gpt2"}


RAW = b'{"event": {"scope":"repo","action":"update"}, "x": 1e999, "x":   2}'
TWICE = """
from fastapi import Request
from hfhooks import Delivery, webhook_endpoint

@webhook_endpoint
async def first(request: Request, delivery: Delivery):
    body = (await request.body()).decode()
    return {"body": body, "id": delivery.id, "webhook_id": delivery.webhook_id,
            "attempt": delivery.attempt, "is_replay": delivery.is_replay}

@webhook_endpoint
def second(payload: dict):
    return "second"
"""


def test_a_recorded_delivery_is_run_again_byte_for_byte(start: Start, script: Script) -> None:
    server = start(script(TWICE))
    server.post("first", RAW, webhook_id="w1")
    result = run_command("replay", "1")
    known = {"body": RAW.decode(), "id": 2, "webhook_id": "w1", "attempt": 1, "is_replay": True}
    assert (result.returncode, json.loads(result.stdout)) == (0, known)
    again = server.post("first", RAW, webhook_id="w1")
    assert again.json() == {"id": 1, "status": "duplicate"}


def test_a_recorded_delivery_may_go_to_another_endpoint(start: Start, script: Script) -> None:
    server = start(script(TWICE))
    server.post("first", RAW)
    assert run_command("replay", "1", "--to", "second").stdout == '"second"\n'


def test_a_file_named_like_a_number_is_a_file(start: Start, script: Script, tmp_path: Path) -> None:
    assert start(script(ONE)).ready
    (tmp_path / "1").write_bytes(PULL.read_bytes())
    result = run_command("replay", "1", cwd=tmp_path)
    assert json.loads(result.stdout) == {"name": "openai-community/gpt2"}


def test_a_delivery_that_is_not_recorded_is_said(start: Start, script: Script) -> None:
    assert start(script(ONE)).ready
    result = run_command("replay", "404")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: no delivery 404 is recorded.\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_file_may_be_as_editors_and_shells_write_it(
    start: Start, script: Script, tmp_path: Path, encoding: str, number: int
) -> None:
    server = start(script(ONE))
    assert server.ready
    text = "\r\n".join([PULL.read_text().replace("\n", "")] * number) + "\r\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "x.json").write_bytes((mark + text).encode(encoding))
    result = run_command("replay", "x.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    wait_until(lambda: len(server.deliveries) == number)


def test_half_an_emoji_in_a_file_is_sent_as_it_is(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(ONE))
    assert server.ready
    cut = PULL.read_bytes().replace(b"{", rb'{"title": "half a cat \ud83d", ', 1)
    (tmp_path / "x.json").write_bytes(b"[" + cut + b"]")
    result = run_command("replay", "x.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    [sent] = wait_until(lambda: server.deliveries)
    exported = run_command("deliveries", "export", str(sent["id"]))
    assert json.loads(json.loads(exported.stdout)["body"]) == json.loads(cut)


def test_several_files_are_sent_in_order(start: Start, script: Script) -> None:
    assert start(script(ONE)).ready
    result = run_command("replay", str(PULL), str(PUSH))
    names = [json.loads(line)["name"] for line in result.stdout.splitlines()]
    assert names == ["openai-community/gpt2", "coyotte508/test-s3"]


def test_the_secret_is_not_needed(start: Start, script: Script) -> None:
    assert start(script(ONE), env={"WEBHOOK_SECRET": "s3cret"}).ready
    assert run_command("replay", str(PULL)).returncode == 0


def test_the_bytes_are_sent_as_they_are(start: Start, script: Script, tmp_path: Path) -> None:
    text = "from fastapi import Request, Response\nfrom hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint\nasync def raw(r: Request): return Response(await r.body())"
    assert start(script(text)).ready
    odd = b'{"a": 1e999,\n "a":  "\xc3\xa9"}'
    (tmp_path / "odd.json").write_bytes(odd)
    assert run_command("replay", str(tmp_path / "odd.json")).stdout.encode() == odd + b"\n"


def test_the_endpoint_that_wants_the_event_gets_it(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    assert run_command("replay", str(PUSH)).stdout == '"push"\n'
    assert run_command("replay", str(PULL)).stdout == '"talk"\n'


def test_where_several_want_it_one_must_be_named(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    comment = PULL.with_name("comment_create_v3_built.json")
    result = run_command("replay", str(comment))
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "error: several endpoints want discussion.comment:create of model:some-user/some-repo: "
        "talk, comment.",
        "help: Choose one: --to talk",
    ]
    for name in ("comment", "/webhooks/comment"):
        assert run_command("replay", str(comment), "--to", name).stdout == '"comment"\n'


def test_where_none_wants_it_one_must_be_named(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    create = PULL.with_name("repo_create_v3_built.json")
    result = run_command("replay", str(create))
    assert result.returncode == 2
    assert "no endpoint wants repo:create of model:some-user/some-repo" in result.stderr
    result = run_command("replay", str(create), "--to", "push")
    assert (result.returncode, json.loads(result.stdout)["status"]) == (0, "ignored")
    line, note = result.stderr.splitlines()
    assert line.startswith("· 200 ignored  push  ")
    assert note.startswith("note: its filter does not match: event ")
    assert note.endswith(" All of it: hfhooks explain 1")


def test_an_endpoint_that_is_not_there_is_wrong_usage(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    result = run_command("replay", str(PULL), "--to", "tlak")
    assert (result.returncode, result.stderr) == (
        2,
        "error: no endpoint 'tlak', did you mean 'talk'?\n",
    )


@pytest.mark.parametrize(
    ("body", "http_status"),
    [
        ("from hfhooks import Discard; raise Discard", 200),
        ("from fastapi import HTTPException; raise HTTPException(404)", 404),
    ],
)
def test_a_handler_that_fails_is_exit_code_1(
    start: Start, script: Script, body: str, http_status: int
) -> None:
    text = f"from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(payload): {body}"
    assert start(script(text)).ready
    result = run_command("replay", str(PULL))
    assert result.returncode == 1
    assert result.stderr.startswith(f"✗ {http_status} failed  a  ")


def test_a_payload_that_the_model_refuses_is_exit_code_1_too(start: Start, script: Script) -> None:
    assert start(script(ONE)).ready
    old = PULL.with_name("v2_repo_move_test.json")
    result = run_command("replay", str(old))
    assert (result.returncode, json.loads(result.stdout)["status"]) == (1, "failed")


def test_a_handler_that_takes_longer_is_said_to_be_queued(start: Start, script: Script) -> None:
    assert start(script(ONE), "--wait", "0").ready
    result = run_command("replay", str(PULL))
    assert (result.returncode, json.loads(result.stdout)["status"]) == (0, "queued")
    assert result.stderr.startswith("… 202 queued  name  ")


def test_of_several_servers_one_must_be_chosen(start: Start, script: Script) -> None:
    first, second = start(script(ONE)), start(script(SEVERAL, "two.py"))
    ports = [server.ready["url"].rpartition(":")[2] for server in (first, second)]
    assert run_command("replay", str(PULL)).returncode == 2
    assert run_command("replay", str(PULL), "--port", ports[1]).stdout == '"talk"\n'


def test_without_a_server_it_says_how_to_start_one() -> None:
    result = run_command("replay", str(PULL))
    assert result.returncode == 3
    assert result.stderr == (
        "error: no server is running.\nhelp: Start one: hfhooks serve SCRIPT.py\n"
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "x.json:1:1: not JSON: Expecting value."),
        (b"{\n 'a': 1}", "x.json:2:2: not JSON: Expecting property name"),
        (b"[1]", "x.json: item 1: a payload is a JSON object, not int."),
        (b"\xff\xfe", "x.json:1:1: not JSON: "),
        (b"\xff{}", "x.json: not JSON: "),
        (b"[" * 100_000, "x.json: not JSON: "),
        (b" " * (64 * 1024 * 1024 + 1), "x.json: larger than 67108864 bytes"),
    ],
)
def test_a_file_that_holds_no_payload_is_wrong_usage(
    tmp_path: Path, content: bytes, error: str
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    result = run_command("replay", "x.json", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {error}")
    assert len(result.stderr.splitlines()) == 1


def test_what_is_no_file_is_wrong_usage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    errors = {
        "nope.json": "error: nope.json: No such file or directory.\n",
        "fifo": "error: fifo is not a file.\n",
        "/dev/zero": "error: /dev/zero is not a file.\n",
        ".": "error: . is not a file.\n",
        "loop": "error: loop: Too many levels of symbolic links.\n",
    }
    for name, error in errors.items():
        result = run_command("replay", name, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (2, error)


def test_one_bad_file_of_several_sends_none(start: Start, script: Script, tmp_path: Path) -> None:
    server = start(script(ONE))
    assert server.ready
    (tmp_path / "bad.json").write_text("{")
    assert run_command("replay", str(PULL), str(tmp_path / "bad.json")).returncode == 2
    assert run_command("replay", str(PULL)).stderr.endswith("#1\n")


FAILING = """
from hfhooks import Discard, webhook_endpoint
from pathlib import Path

@webhook_endpoint
def fails(payload):
    if Path(__file__).with_name("broken").exists():
        raise Discard("no")
    return payload.repo.name

@webhook_endpoint(on="repo.content")
def push(payload): return payload.repo.name
"""


EXPORTED = (
    b'{"hfhooks_delivery": 1, "endpoint": null, "query": "", "body": "{}", "received_at": 0, '
    b'"headers": [["x-a", "VALUE"]]}'
)


def numbers(server: Any) -> list[int]:
    return [event["id"] for event in server.deliveries if event["replay"]]


def test_a_file_may_hold_several(start: Start, script: Script, tmp_path: Path) -> None:
    assert start(script(ONE)).ready
    both = [json.loads(path.read_bytes()) for path in (PULL, PUSH)]
    (tmp_path / "array.json").write_text(json.dumps(both, indent=2))
    (tmp_path / "lines.jsonl").write_text("\n\n".join(map(json.dumps, both)) + "\n")
    for name in ("array.json", "lines.jsonl"):
        result = run_command("replay", str(tmp_path / name))
        names = [json.loads(line)["name"] for line in result.stdout.splitlines()]
        assert names == ["openai-community/gpt2", "coyotte508/test-s3"]


def test_the_last_ones_are_replayed_in_order(start: Start, script: Script) -> None:
    server = start(script(ONE))
    for path in (PULL, PUSH, PULL):
        server.post("name", path.read_bytes())
    result = run_command("replay", "--last", "2")
    names = [json.loads(line)["name"] for line in result.stdout.splitlines()]
    assert names == ["coyotte508/test-s3", "openai-community/gpt2"]


def test_what_failed_is_replayed(start: Start, script: Script, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    server = start(script(FAILING))
    server.post("push", PUSH.read_bytes())
    server.post("fails", PULL.read_bytes())
    wait_until(lambda: len(server.deliveries) == 2)
    (tmp_path / "broken").unlink()
    result = run_command("replay", "--failed", "--since", "1h")
    assert (result.returncode, result.stdout) == (0, '"openai-community/gpt2"\n')
    assert run_command("replay", "--failed", "--since", "0s").stderr == "note: no deliveries.\n"


def test_values_may_be_changed(start: Start, script: Script) -> None:
    assert start(script(ONE)).ready
    result = run_command("replay", str(PULL), "--set", "repo.name=me/x")
    assert json.loads(result.stdout) == {"name": "me/x"}
    wrong = run_command("replay", str(PULL), "--set", "repo.name.first=x")
    assert (wrong.returncode, "name is no object" in wrong.stderr) == (2, True)


def test_a_dry_run_says_who_would_get_it_and_why(start: Start, script: Script) -> None:
    server = start(script(SEVERAL))
    assert server.ready
    result = run_command("replay", str(PUSH), "--dry-run")
    assert result.stdout.splitlines() == [
        "✓ push  wants it",
        "· talk  event repo.content:update is not discussion",
        "· comment  event repo.content:update is not discussion.comment",
    ]
    named = run_command("replay", str(PUSH), "--dry-run", "--to", "talk", "--json")
    assert json.loads(named.stdout) == {
        "endpoint": "talk",
        "wants": False,
        "reason": "event repo.content:update is not discussion",
    }
    assert server.deliveries == []


def test_programs_get_json(start: Start, script: Script) -> None:
    assert start(script(ONE)).ready
    row = json.loads(run_command("replay", str(PULL), "--json").stdout)
    assert row.pop("duration_ms") > 0
    assert row == {
        "id": 1,
        "endpoint": "name",
        "status": "succeeded",
        "http_status": 200,
        "answer": {"name": "openai-community/gpt2"},
    }


def test_a_recorded_query_is_sent_again(start: Start, script: Script) -> None:
    text = "from fastapi import Request\nfrom hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint\ndef a(request: Request): return str(request.url.query)"
    server = start(script(text))
    server.post("a?x=1&secret=s", PULL.read_bytes())
    assert run_command("replay", "1").stdout == '"x=1"\n'


def test_nothing_to_replay_is_wrong_usage() -> None:
    result = run_command("replay")
    assert (result.returncode, "nothing to replay" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"[]", "x.json: an empty array holds no payload."),
        (b"[{}, 1]", "x.json: item 2: a payload is a JSON object, not int."),
        (b"{}\n{]\n", "x.json:2:2: not JSON: "),
        (b'{"hfhooks_delivery": 2}', "x.json: version 2 of an exported delivery is not known."),
        (b'{"hfhooks_delivery": 1}', "x.json: the exported delivery is damaged: "),
    ],
)
def test_what_is_wrong_with_several_is_said(tmp_path: Path, content: bytes, error: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    result = run_command("replay", "x.json", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {error}")


def test_explain_says_it_for_a_file_and_for_a_delivery(start: Start, script: Script) -> None:
    server = start(script(SEVERAL))
    server.post("push", PULL.read_bytes())
    lines = ["· push  event discussion:create is not repo.content", "✓ talk  wants it"]
    for name in (str(PULL), "1"):
        result = run_command("explain", name)
        assert (result.returncode, result.stdout.splitlines()[:2]) == (0, lines)
    assert run_command("explain", "404").returncode == 2
    rows = run_command("explain", "-", "--json", stdin=PUSH.read_bytes()).stdout.splitlines()
    assert [json.loads(row)["wants"] for row in rows] == [True, False, False]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("return payload.repo.name", 0, "✓ 200 succeeded  a  "),
        ("1 / 0", 1, "✗ 500 failed  a  "),
        ("import os; os._exit(3)", 1, "✗ 500 failed  a  "),
        ("from hfhooks import Discard; raise Discard('no')", 1, "✗ 500 failed  a  "),
    ],
)
def test_a_script_is_called_without_a_server(
    script: Script, body: str, code: int, said: str
) -> None:
    path = script(
        f"from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(payload): {body}"
    )
    result = run_command("replay", str(PULL), "--offline", str(path))
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr


def test_offline_filters_count_and_a_dry_run_calls_nothing(script: Script) -> None:
    path = str(script(SEVERAL))
    assert run_command("replay", str(PULL), "--offline", path).stdout == '"talk"\n'
    result = run_command("replay", str(PUSH), "--offline", path, "--to", "talk")
    assert (result.returncode, result.stderr.startswith("· 200 ignored  talk")) == (0, True)
    explained = run_command("replay", str(PUSH), "--offline", path, "--dry-run")
    assert explained.stdout.splitlines()[0] == "✓ push  wants it"


def test_an_offline_script_that_is_broken_is_said(script: Script) -> None:
    result = run_command("replay", str(PULL), "--offline", str(script("1 / 0")))
    assert (result.returncode, "ZeroDivisionError" in result.stderr) == (3, True)


def test_a_url_gets_what_the_hub_would_send(start: Start, script: Script) -> None:
    secret = {"WEBHOOK_SECRET": "a-secret-of-ours"}
    server = start(script(ONE), env=secret)
    url = server.url("name")
    result = run_command("replay", str(PULL), "--url", url, env=secret)
    assert json.loads(result.stdout) == {"name": "openai-community/gpt2"}
    refused = run_command("replay", str(PULL), "--url", url)
    assert (refused.returncode, "✗ 401 failed" in refused.stderr) == (1, True)
    wait_until(lambda: len(server.deliveries) == 1)
    assert server.deliveries[0]["replay"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--url", "http://example.com/x"], 2, "is on another machine."),
        (["--url", "ftp://127.0.0.1/x"], 2, "is no URL"),
        (["--url", "http://[::1"], 2, "is no URL"),
        (["--url", "http://127.0.0.1:9/x"], 3, "did not answer"),
        (["--url", "http://127.0.0.1:9/x", "--offline", "app.py"], 2, "two ways"),
        (["--offline", "nope.py"], 2, "nope.py"),
        (["--set", "x"], 2, "write KEY=VALUE"),
    ],
)
def test_other_wrong_usage_is_said(arguments: list[str], code: int, said: str) -> None:
    result = run_command("replay", str(PULL), *arguments)
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr


def test_last_alone_is_the_last_one(start: Start, script: Script) -> None:
    server = start(script(ONE))
    for path in (PULL, PUSH):
        server.post("name", path.read_bytes())
    assert json.loads(run_command("replay", "--last").stdout) == {"name": "coyotte508/test-s3"}
    assert run_command("replay", "--last", "--json").returncode == 0
    wrong = run_command("replay", "--last", "0")
    assert (wrong.returncode, "--last" in wrong.stderr) == (2, True)


def test_many_are_replayed_only_if_that_is_meant(start: Start, script: Script) -> None:
    server = start(script(ONE))
    assert server.ready
    many = json.dumps([json.loads(PULL.read_bytes())] * 101).encode()
    result = run_command("replay", "-", stdin=many)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: these are 101 deliveries.",
        "help: If all of them are meant: --yes",
    ]
    result = run_command("replay", "-", "--yes", "--json", stdin=many)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 101)
    assert run_command("replay", "--last", "1000000", "--dry-run").returncode == 0


def test_a_recorded_delivery_is_called_without_a_server(start: Start, script: Script) -> None:
    path = script(ONE)
    server = start(path)
    server.post("name", PULL.read_bytes())
    server.stop()
    for names in (["1"], ["--last"]):
        result = run_command("replay", *names, "--offline", str(path))
        assert (result.returncode, json.loads(result.stdout)) == (
            0,
            {"name": "openai-community/gpt2"},
        )
    assert run_command("replay", "404", "--offline", str(path)).returncode == 2


def test_what_is_no_payload_is_replayed_too(start: Start, script: Script) -> None:
    path = script(TWICE)
    server = start(path)
    server.post("first", b"no JSON at all")
    assert json.loads(run_command("replay", "1").stdout)["body"] == "no JSON at all"
    assert run_command("replay", "1", "--dry-run").stdout == "✓ first  wants it\n"
    assert run_command("explain", "1").returncode == 0
    server.stop()
    offline = run_command("replay", "1", "--offline", str(path))
    assert json.loads(offline.stdout)["body"] == "no JSON at all"


@pytest.mark.parametrize("option", [["--dry-run"], ["--to", "name"]])
def test_what_a_url_cannot_do_is_wrong_usage(option: list[str]) -> None:
    result = run_command("replay", str(PULL), "--url", "http://127.0.0.1:9/x", *option)
    assert (result.returncode, "need a server or --offline" in result.stderr) == (2, True)


def test_explain_knows_the_endpoints_without_a_server(start: Start, script: Script) -> None:
    path = script(SEVERAL)
    lines = [
        "· push  event discussion:create is not repo.content",
        "✓ talk  wants it",
        "· comment  event discussion:create is not discussion.comment",
    ]
    missing = run_command("explain", str(PULL))
    assert missing.returncode == 3
    assert missing.stderr.splitlines() == [
        "error: no server is running.",
        "help: Name a script: --script app.py",
    ]
    assert run_command("explain", str(PULL), "--script", str(path)).stdout.splitlines() == lines
    server = start(path)
    server.post("push", PULL.read_bytes())
    server.stop()
    assert run_command("explain", str(PULL)).stdout.splitlines() == lines
    assert run_command("explain", "1", "--script", str(path)).stdout.splitlines() == lines


QUESTION = b"Replay 101 deliveries? [y/N]"


def test_at_a_terminal_many_are_asked_about_and_counted(start: Start, script: Script) -> None:
    server = start(script(ONE))
    for _ in range(12):
        server.post("name", PULL.read_bytes())
    shown = at_terminal("replay", "--last", "12").stdout
    assert "1 of 12 …" in shown and "12 of 12 …" in shown
    assert shown.count("200 succeeded") == 12
    many = script(json.dumps([json.loads(PULL.read_bytes())] * 101), "many.json")
    no = at_terminal("replay", str(many), answer=(QUESTION, b"n\n"))
    assert (no.returncode, "succeeded" in no.stdout) == (1, False)
    assert at_terminal("replay", str(many), answer=(QUESTION, b"\x03")).returncode == 130


def test_ctrl_c_waits_for_no_handler(script: Script) -> None:
    text = "import time\nfrom hfhooks import webhook_endpoint\n@webhook_endpoint\n"
    path = script(text + "def slow(payload):\n    print('begun', flush=True)\n    time.sleep(60)")
    command = [*COMMAND, "replay", str(PULL), "--offline", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stderr.readline() == "begun\n"
        [worker] = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    wait_until(lambda: not worker.is_running())


def test_a_script_that_loads_for_ever_is_given_up(script: Script) -> None:
    path = script("while True: pass")
    result = subprocess.run(
        [sys.executable, "-c", GIVES_UP_SOON, "explain", str(PULL), "--script", str(path)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 3
    assert result.stderr.endswith("app.py: still loading after 2 s.\n")


GIVES_UP_SOON = """
from hfhooks.serving import offline
from hfhooks.__main__ import main
offline.LONGEST_LOAD = 2.0
main()
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{}\n{"a": ' + b"9" * 5000 + b"}\n", "x.json:2: not JSON: "),
        (b"{}\n" + b"[" * 100_000 + b"\n", "x.json:2: not JSON: "),
        (EXPORTED.replace(b"VALUE", b"a\\nb"), "that cannot be sent: "),
    ],
)
def test_odd_content_is_no_traceback(
    start: Start, script: Script, tmp_path: Path, content: bytes, said: str
) -> None:
    assert start(script(ONE)).ready
    (tmp_path / "x.json").write_bytes(content)
    result = run_command("replay", "x.json", cwd=tmp_path)
    assert result.returncode in (1, 2) and "Traceback" not in result.stderr
    assert said in result.stderr or "400 refused" in result.stderr


def test_a_number_that_no_delivery_has_is_said(start: Start, script: Script) -> None:
    server = start(script(ONE))
    server.post("name", PULL.read_bytes())
    for number in ("9" * 20, "9" * 5000):
        for command in ("replay", "explain"):
            result = run_command(command, number)
            assert (result.returncode, "is recorded." in result.stderr) == (2, True)
    assert run_command("deliveries", "retry", "9" * 20).returncode == 2
    assert server.post("name", PULL.read_bytes()).status == 200


def test_what_is_no_object_cannot_be_edited(start: Start, script: Script) -> None:
    server = start(script(TWICE))
    server.post("first", b"[1, 2]")
    result = run_command("replay", "1", "--set", "a=1")
    assert (result.returncode, "no JSON object" in result.stderr) == (2, True)


def test_a_dry_run_says_what_would_keep_it_from_being_sent(start: Start, script: Script) -> None:
    assert start(script(SEVERAL)).ready
    comment = PULL.with_name("comment_create_v3_built.json")
    result = run_command("replay", str(comment), "--dry-run")
    assert (result.returncode, "Choose one: --to talk" in result.stderr) == (2, True)


def test_what_failed_is_replayed_once(start: Start, script: Script, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    server = start(script(FAILING))
    server.post("fails", PULL.read_bytes())
    wait_until(lambda: server.deliveries)
    for _ in range(2):
        result = run_command("replay", "--failed")
        assert (result.returncode, result.stderr.count("failed  fails")) == (1, 1)


def test_a_handler_that_raises_and_is_tried_again_has_failed(start: Start, script: Script) -> None:
    path = script("from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(p): 1 / 0")
    assert start(path).ready
    result = run_command("replay", str(PULL))
    assert (result.returncode, result.stderr.startswith("↻ 202 retrying")) == (1, True)
    assert run_command("trigger", "repo:create").returncode == 1


def test_offline_a_dead_worker_calls_nobody(script: Script) -> None:
    text = "import os\nfrom hfhooks import webhook_endpoint\n"
    path = script(text + "@webhook_endpoint\ndef a(payload): os._exit(1)")
    result = run_command("replay", str(PULL), str(PUSH), "--offline", str(path))
    first, second = result.stdout.splitlines()
    assert "died while this handler ran" in first
    assert "was not called" in second or "died while" in second


HEADERS = """
from fastapi import Request
from hfhooks import webhook_endpoint

@webhook_endpoint
async def echo(request: Request):
    return {"headers": dict(request.headers), "body": (await request.body()).decode()}
"""
SMUGGLED = "{}POST /webhooks/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
OF_A_CONNECTION = [
    ("Content-Length", "2"),
    ("content-length", "2"),
    ("content-length ", "2"),
    ("Transfer-Encoding", "chunked"),
    ("transfer-encoding\t", "gzip, chunked"),
    ("Connection", "close, X-Listed"),
    ("x-listed", "1"),
    ("Keep-Alive", "1"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "x"),
    ("Upgrade", "h2c"),
    ("Expect", "100-continue"),
    ("Host", "evil.example"),
    ("HFHOOKS-Token", "guess"),
    ("Hfhooks-Origin", "hub"),
    ("hfhooks-delivery", "1"),
]


@pytest.mark.parametrize("is_by_url", [False, True])
def test_headers_of_a_connection_are_not_those_of_a_file(
    start: Start, script: Script, tmp_path: Path, is_by_url: bool
) -> None:
    server = start(script(HEADERS))
    url = server.url("echo")
    way = ["--url", url] if is_by_url else []
    for header in [OF_A_CONNECTION[:1], OF_A_CONNECTION[3:4], OF_A_CONNECTION]:
        content = {"hfhooks_delivery": 1, "endpoint": "echo", "query": "", "body": SMUGGLED}
        content["headers"] = [["X-A", "kept"], *header]
        (tmp_path / "one.json").write_text(json.dumps(content))
        result = run_command("replay", str(tmp_path / "one.json"), *way)
        answer = json.loads(result.stdout)
        assert answer["body"] == SMUGGLED
        names = {"accept-encoding", "content-type", "content-length", "host", "x-a"}
        assert set(answer["headers"]) == names
        assert answer["headers"]["host"] in server.ready["local_url"]
        assert answer["headers"]["content-length"] == str(len(SMUGGLED))
    wait_until(lambda: len(server.deliveries) == 3)
    assert [each["replay"] for each in server.deliveries] == [not is_by_url] * 3


@pytest.mark.parametrize("wait", ["30", "0"])
def test_why_a_handler_has_failed_is_said_where_that_is_known(
    start: Start, script: Script, wait: str
) -> None:
    text = "from hfhooks import webhook_endpoint\n@webhook_endpoint(retries=0)\n"
    server = start(script(f"{text}def a(payload): raise ValueError('no wäy')"), "--wait", wait)
    assert server.ready
    said = run_command("replay", str(PULL)).stderr.splitlines()[1:]
    known = ["    ValueError: no wäy", "note: all of it: hfhooks deliveries show 1"]
    assert said == (known if wait == "30" else [])
