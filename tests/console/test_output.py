import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from hfhooks.console.output import print_data, print_error, print_note, print_sent
from hfhooks.errors import DiskError, Fault, HfhooksError, ReaderGone
from hfhooks.model.sending import Sent
from hfhooks.redact import redact
from tests.console.examples import ESCAPES


def test_text_from_outside_is_inert_wherever_it_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
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


def test_a_fault_of_ours_has_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("a row")
    except KeyError as error:
        print_error(Fault("listing", error))
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" in lines[0] and any("test_output.py" in line for line in lines)
    assert "error: a fault in listing: KeyError: 'a row'." in lines
    assert "Please report it" in lines[-1]


def test_a_replay_shows_a_line_and_the_answer_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_sent(Sent(200, "succeeded", "train", 17, 0.05, b'{"a":1}'))
    print_sent(Sent(401, "failed", "train", None, 0.05, b""))
    out, err = capsys.readouterr()
    assert out == '{"a":1}\n\n'
    assert err == "✓ 200 succeeded  train  50 ms  #17\n✗ 401 failed  train  50 ms\n"


def test_of_what_has_failed_is_said_why_and_where_the_rest_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_sent(Sent(500, "failed", "train", 17, 0.05, b"", "ValueError: \x1b no"))
    print_sent(Sent(200, "ignored", "train", 18, 0.05, b"", "event a is not b"))
    print_sent(Sent(200, "succeeded", "train", None, 0.05, b"", "its answer cannot be sent: x"))
    assert capsys.readouterr().err.splitlines() == [
        "✗ 500 failed  train  50 ms  #17",
        "    ValueError: \\x1b no",
        "note: all of it: hfhooks deliveries show 17",
        "· 200 ignored  train  50 ms  #18",
        "note: its filter does not match: event a is not b. All of it: hfhooks explain 18",
        "✓ 200 succeeded  train  50 ms",
        "    its answer cannot be sent: x",
    ]


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


@pytest.fixture
def pipe_without_reader() -> Iterator[TextIO]:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_a_reader_that_left_ends_a_command_and_no_more_is_said_of_it(
    monkeypatch: pytest.MonkeyPatch, pipe_without_reader: TextIO
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe_without_reader)
    with pytest.raises(ReaderGone):
        print_data("x" * 100_000)
    print_data("and again")  # goes nowhere


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(DiskError, match="stdout: No space left on device"):
            print_data("x")


def test_what_the_encoding_does_not_know_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_data("é")
    assert raw.getvalue() == b"\\xe9\n"


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
