import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from hfhooks.console.text import Console, print_data, print_error, print_note, print_sent
from hfhooks.dispatch.dispatcher import Outcome
from hfhooks.errors import DiskError, HfhooksError, LoadError, ReaderGone
from hfhooks.journal.sqlite.records import Attempt, Delivery
from hfhooks.redact import redact
from hfhooks.serving.announce import RunningServer
from hfhooks.serving.sender import Sent

DELIVERY = Delivery(
    endpoint="train",
    received_at=0,
    query="",
    headers=(),
    body=b"{}",
    event="repo.content:update",
    repo="dataset:me/data",
    status="succeeded",
    id=17,
)
ATTEMPT = Attempt(1, 0, 0.0123, "succeeded", 200)
SERVER = RunningServer(
    pid=1,
    host="127.0.0.1",
    port=7860,
    url="http://127.0.0.1:7860",
    local_url="http://127.0.0.1:7860",
    inspector_url=None,
    tunnel=None,
    is_up=True,
    endpoints=[
        {
            "name": "train",
            "path": "/webhooks/train",
            "url": "http://127.0.0.1:7860/webhooks/train",
            "on": ["repo.content"],
            "repo": ["dataset:me/*"],
            "ref": [],
        }
    ],
    wait=5,
    journal="/j/journal.db",
    token="t0ken",
)
ESCAPES = "\x1b]0;x\x07 \x9b31m \u202e \u2028 \ud800 [/red]"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_ready_line_has_the_shape_that_programs_rely_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Console(json_lines=True).ready(SERVER, ["train"])
    [line] = lines(capsys)
    assert line == {
        "type": "ready",
        "url": "http://127.0.0.1:7860",
        "local_url": "http://127.0.0.1:7860",
        "inspector_url": None,
        "tunnel": None,
        "secret": False,
        "endpoints": SERVER.endpoints,
    }
    assert list(line) == [
        "type", "url", "local_url", "inspector_url", "tunnel", "secret", "endpoints",
    ]  # fmt: skip


def test_the_delivery_line_has_the_shape_that_programs_rely_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console(json_lines=True)
    console.finished(Outcome(DELIVERY, ATTEMPT, None))
    console.ignored(DELIVERY, "why")
    console.stopped()
    finished, ignored, stopped = lines(capsys)
    assert finished == {
        "type": "delivery",
        "id": 17,
        "endpoint": "train",
        "event": "repo.content:update",
        "repo": "dataset:me/data",
        "status": "succeeded",
        "http_status": 200,
        "attempt": 1,
        "duration_ms": 12.3,
        "replay": False,
    }
    assert (ignored["attempt"], ignored["duration_ms"]) == (0, None)
    assert stopped == {"type": "stopped"}


def test_a_refused_sender_is_no_delivery(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json_lines=True).refused("/webhooks/train", 401, "unauthorized")
    assert lines(capsys) == []


def test_what_a_refusal_may_mean_is_a_note_for_programs_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for json_lines in (False, True):
        Console(json_lines).refused("/webhooks/train", 401, "unauthorized", "it signs")
        out, err = capsys.readouterr()
        assert out == "" and err.endswith("note: it signs\n")


def test_start_up_without_a_secret_says_how_to_set_one(capsys: pytest.CaptureFixture[str]) -> None:
    Console().ready(SERVER, ["train"])
    out, err = capsys.readouterr()
    assert out == ""
    for words in (
        "Webhook secret is not set: anyone who knows a URL can call it.",
        "WEBHOOK_SECRET in the environment, or WebhooksServer(webhook_secret=…)",
        "https://huggingface.co/docs/hub/webhooks#webhook-secret",
        "Running on local URL:  http://127.0.0.1:7860",
        "Only this machine can reach it.",
        "  POST http://127.0.0.1:7860/webhooks/train   repo.content · dataset:me/*",
        "https://huggingface.co/settings/webhooks",
    ):
        assert words in err


def test_start_up_with_a_secret_does_not_nag(capsys: pytest.CaptureFixture[str]) -> None:
    Console().ready(SERVER, [])
    err = capsys.readouterr().err
    assert "Webhook secret is set." in err and "WEBHOOK_SECRET" not in err


def test_start_up_names_the_endpoints_that_are_open(capsys: pytest.CaptureFixture[str]) -> None:
    server = dataclasses.replace(SERVER, endpoints=SERVER.endpoints * 2)
    Console().ready(server, ["train"])
    assert "Webhook secret is not set for train:" in capsys.readouterr().err


def test_one_delivery_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.finished(Outcome(DELIVERY, ATTEMPT, None))
    console.ignored(DELIVERY, "event x is not y")
    console.refused("/webhooks/train", 401, "unauthorized")
    finished, ignored, refused = (line.split("  ") for line in capsys.readouterr().err.splitlines())
    assert finished[1:] == [
        "✓ 200", "train", "repo.content:update", "dataset:me/data", "12 ms", "#17",
    ]  # fmt: skip
    assert ignored[-2:] == ["ignored: event x is not y", "#17"]
    assert refused[1:] == ["✗ 401", "/webhooks/train", "unauthorized"]


def test_what_will_be_tried_again_says_when(capsys: pytest.CaptureFixture[str]) -> None:
    retrying = dataclasses.replace(DELIVERY, status="retrying")
    failed = Attempt(1, 0, 0.1, "failed", 500, error="busy")
    for seconds in (5.4, 130.0):
        Console().finished(Outcome(retrying, failed, None, retry_after=seconds))
    first, _, second, _ = capsys.readouterr().err.splitlines()
    assert first.split("  ")[1] == "↻ 500" and "  again in 5 s  " in first
    assert "  again in 2 min  " in second


def test_a_later_attempt_and_one_of_the_last_run_are_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console()
    console.finished(Outcome(DELIVERY, dataclasses.replace(ATTEMPT, number=3), None))
    console.finished(Outcome(DELIVERY, ATTEMPT, None, is_recovered=True))
    later, recovered = capsys.readouterr().err.splitlines()
    assert later.endswith("  12 ms  attempt 3  #17")
    assert recovered.endswith("  12 ms  recovered  #17")


TRACE = """\
Traceback (most recent call last):
  File "/home/ada/app.py", line 3, in train
    json.loads("{")
  File "{LIBRARY}", line 346, in loads
    return _default_decoder.decode(s)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
json.decoder.JSONDecodeError: Expecting property name
""".replace("{LIBRARY}", json.__file__)


def test_a_traceback_has_the_users_frames_unless_all_are_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = Attempt(1, 0, 0.1, "failed", 500, error=TRACE)
    Console().finished(Outcome(DELIVERY, failed, None))
    shown = capsys.readouterr().err
    assert "app.py" in shown and 'json.loads("{")' in shown and "JSONDecodeError" in shown
    assert json.__file__ not in shown and "_default_decoder" not in shown and "^^^" not in shown
    Console(verbose=True).finished(Outcome(DELIVERY, failed, None))
    assert json.__file__ in capsys.readouterr().err


def test_a_duplicate_says_how_to_run_it_anyway(capsys: pytest.CaptureFixture[str]) -> None:
    Console().duplicate(dataclasses.replace(DELIVERY, status="duplicate"))
    [line] = capsys.readouterr().err.splitlines()
    assert "a duplicate; to run it again: hfhooks replay 17" in line


def test_a_duplicate_is_a_delivery_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json_lines=True).duplicate(dataclasses.replace(DELIVERY, status="duplicate"))
    [line] = lines(capsys)
    assert (line["id"], line["status"], line["http_status"]) == (17, "duplicate", 200)


def test_turning_senders_away_is_said_and_its_end_too(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.full("the disk is full.")
    console.full(None)
    assert capsys.readouterr().err.splitlines() == [
        "note: the disk is full. Until that changes deliveries are refused, which the Hub counts.",
        "note: deliveries are accepted again.",
    ]


def test_an_exception_is_shown_below_its_delivery(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Attempt(1, 0, 0.1, "failed", 500, error=f"Traceback:\n  {ESCAPES}\n")
    Console().finished(Outcome(DELIVERY, failed, None))
    assert capsys.readouterr().err.splitlines()[1:] == [
        "    Traceback:",
        "      \\x1b]0;x\\x07 \\x9b31m \\u202e ",
        "     \\ud800 [/red]",
    ]


def test_text_from_outside_is_inert_wherever_it_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = dataclasses.replace(DELIVERY, event=ESCAPES, repo=ESCAPES)
    Console().finished(Outcome(odd, ATTEMPT, None))
    Console().ignored(odd, ESCAPES)
    Console().note(ESCAPES)
    print_note(ESCAPES)
    print_error(HfhooksError(ESCAPES, ESCAPES))
    shown = capsys.readouterr().err.replace("\n", "")
    assert not [character for character in shown if not character.isprintable()]
    assert "[/red]" in shown


def test_an_error_is_a_line_and_its_help_another(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(HfhooksError("no such file: x" + "y" * 300, help="Did you mean z?"))
    print_error(HfhooksError("alone"))
    err = capsys.readouterr().err.splitlines()
    assert err == ["error: no such file: x" + "y" * 300, "help: Did you mean z?", "error: alone"]


def test_a_replay_shows_a_line_and_the_answer_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_sent(Sent(200, "succeeded", "train", 17, 0.05, b'{"a":1}'))
    print_sent(Sent(401, "failed", "train", None, 0.05, b""))
    out, err = capsys.readouterr()
    assert out == '{"a":1}\n\n'
    assert err == "✓ 200 succeeded  train  50 ms  #17\n✗ 401 failed  train  50 ms\n"


def test_on_a_terminal_the_answer_is_indented_and_inert(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    body = json.dumps({"a": "é \x1b \u202e"}, ensure_ascii=False).encode()
    print_sent(Sent(200, "succeeded", "train", 17, 0.05, body))
    print_sent(Sent(200, "succeeded", "train", 17, 0.05, b"no json \x1b"))
    out = capsys.readouterr().out
    assert '"é \\u001b \\u202e"' in out and "no json \\x1b" in out
    assert "\n  " in out and "\u202e" not in out


def test_plain_marks_where_the_terminal_has_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    Console().finished(Outcome(DELIVERY, ATTEMPT, None))
    stream.flush()
    assert b"+ 200  train" in stream.buffer.getvalue()


@pytest.fixture
def pipe_without_reader() -> Iterator[TextIO]:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_a_reader_that_left_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, pipe_without_reader: TextIO
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe_without_reader)
    with pytest.raises(ReaderGone):
        print_data("x" * 100_000)
    print_data("and again")  # goes nowhere
    Console(json_lines=True).stopped()
    monkeypatch.setattr(sys, "stderr", pipe_without_reader)
    console = Console()
    for _ in range(2):
        console.note("x" * 100_000)
        console.finished(Outcome(DELIVERY, ATTEMPT, None))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_said_by_commands_and_borne_by_a_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(DiskError, match="stdout: No space left on device"):
            print_data("x")
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "stderr", full)
        console = Console(json_lines=True)
        console.finished(Outcome(DELIVERY, ATTEMPT, None))
        console.stopped()


def test_what_the_encoding_does_not_know_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_data("é")
    assert raw.getvalue() == b"\\xe9\n"


CANARY = 'canary/"in the mine"'


@pytest.fixture
def canary() -> None:
    redact.learn(CANARY)


def test_a_secret_is_masked_in_whatever_is_said(
    canary: None, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Attempt(1, 0, 0.1, "failed", 500, error=f"Traceback:\nError: {CANARY}\n")
    error = LoadError(f"app.py:1: {CANARY}", CANARY, "app.py", 1)
    error.traceback = [CANARY]
    told = dataclasses.replace(DELIVERY, repo=CANARY)
    for console in (Console(), Console(json_lines=True)):
        console.note(CANARY)
        console.finished(Outcome(told, failed, None))
        console.ignored(DELIVERY, CANARY)
        console.refused("/webhooks/train", 401, "unauthorized", CANARY)
        console.broken(error, has_worker=True)
    print_sent(Sent(200, "succeeded", "train", 17, 0.05, json.dumps({"a": CANARY}).encode()))
    out, err = capsys.readouterr()
    assert "canary" not in out + err and "mine" not in out + err
    assert (out.count("***"), err.count("***")) == (3, 14)


def test_colours_do_not_part_a_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    redact.learn("canary-12345-true-null")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for body in (b'{"a": "canary-12345-true-null"}', b"canary-12345-true-null"):
        print_sent(Sent(200, "succeeded", "train", 17, 0.05, body))
    out = capsys.readouterr().out
    assert out.count("***") == 2 and "\x1b[" in out and "canary" not in out
