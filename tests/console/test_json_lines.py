import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import pytest

from hfhooks.console.json_lines import JsonLines
from hfhooks.errors import LoadError, TunnelError
from hfhooks.model.happenings import (
    Broken,
    Duplicate,
    Failed,
    Full,
    Happening,
    Ignored,
    Note,
    Ready,
    Refused,
    Reloaded,
    Stopped,
    TunnelDown,
    TunnelUp,
)
from tests.console.examples import CLOSED, DELIVERY, SERVER, finished

SHOWN = {
    "name": "train",
    "path": "/webhooks/train",
    "url": "http://127.0.0.1:7860/webhooks/train",
    "on": ["repo.content"],
    "repo": ["dataset:me/*"],
    "ref": [],
    "secret": False,
}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def said(*happenings: Happening) -> list[dict[str, Any]]:
        for happening in happenings:
            JsonLines()(happening)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return said


def test_the_ready_line_has_the_shape_that_programs_rely_on(said: Any) -> None:
    [line] = said(Ready(SERVER))
    assert line == {
        "type": "ready",
        "url": "http://127.0.0.1:7860",
        "local_url": "http://127.0.0.1:7860",
        "inspector_url": None,
        "tunnel": None,
        "secret": False,
        "endpoints": [SHOWN],
    }
    assert list(line) == [
        "type", "url", "local_url", "inspector_url", "tunnel", "secret", "endpoints",
    ]  # fmt: skip
    [line] = said(Ready(CLOSED))
    assert (line["secret"], line["endpoints"][0]["secret"]) == (True, True)


def test_the_delivery_line_has_the_shape_that_programs_rely_on(said: Any) -> None:
    told, ignored, stopped = said(
        finished(sent_status=202), Ignored(17, DELIVERY, "why"), Stopped()
    )
    assert told == {
        "type": "delivery",
        "id": 17,
        "endpoint": "train",
        "event": "repo.content:update",
        "repo": "dataset:me/data",
        "status": "succeeded",
        "http_status": 200,
        "sent_status": 202,
        "attempt": 1,
        "duration_ms": 12.3,
        "replay": False,
        "origin": "hub",
    }
    assert (ignored["status"], ignored["attempt"], ignored["duration_ms"]) == ("ignored", 0, None)
    assert stopped == {"type": "stopped"}


@pytest.mark.parametrize(
    ("origin", "is_replay"), [("hub", False), ("trigger", False), ("replay", True)]
)
def test_a_delivery_says_where_it_comes_from(said: Any, origin: str, is_replay: bool) -> None:
    [line] = said(finished(delivery=replace(DELIVERY, origin=origin)))
    assert (line["origin"], line["replay"]) == (origin, is_replay)


def test_a_duplicate_is_a_delivery_line_too(said: Any) -> None:
    [line] = said(Duplicate(17, DELIVERY))
    assert (line["id"], line["status"], line["http_status"]) == (17, "duplicate", 200)


def test_the_other_lines(said: Any) -> None:
    up = replace(SERVER, url="https://me.example", tunnel="ngrok")
    error = LoadError("app.py:12: SyntaxError: no", file="app.py", line=12)
    assert said(
        Reloaded(0.0481, SERVER),
        Broken(error, has_worker=True),
        TunnelUp(up, None),
        TunnelDown("https://me.example", "it broke"),
    ) == [
        {"type": "reload", "ok": True, "duration_ms": 48.1, "endpoints": [SHOWN]},
        {"type": "reload", "ok": False, "error": "SyntaxError: no", "file": "app.py", "line": 12},
        {"type": "tunnel", "state": "up", "url": "https://me.example"},
        {"type": "tunnel", "state": "down", "url": "https://me.example"},
    ]


@pytest.mark.parametrize(
    "happening",
    [
        Refused("/webhooks/train", 401, "unauthorized", "it signs"),
        Full("no room."),
        Note("x"),
        Failed(TunnelError("x")),
    ],
)
def test_what_is_no_event_is_no_line(said: Any, happening: Happening) -> None:
    assert said(happening) == []


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
    for _ in range(2):
        JsonLines()(Stopped())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        JsonLines()(finished())
        JsonLines()(Stopped())
