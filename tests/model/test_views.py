"""The shapes that programs rely on: every key, its unit, and nothing that is secret."""

import json
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.model import views
from hfhooks.model.delivery import Attempt, Recorded, Summary
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.events import Filter
from hfhooks.model.exported import Exported
from hfhooks.model.running_server import RunningServer
from hfhooks.model.sending import Sent

TRAIN = Endpoint("train", Filter(("repo",), ("me/*",), ("refs/heads/main",)), ("s3cret-of-it",))
SERVER = RunningServer(
    pid=1,
    port=7860,
    host="127.0.0.1",
    url="https://me.example",
    local_url="http://127.0.0.1:7860",
    inspector_url="http://127.0.0.1:4040",
    tunnel="ngrok",
    is_up=True,
    endpoints=[Published(TRAIN, "script"), Published.of(Endpoint("open"), ())],
    wait=5.0,
    journal="sqlite:///j/journal.db",
    token="t0ken-of-it",
)
SUMMARY = Summary(
    id=17,
    received_at=1_700_000_000.25,
    endpoint="train",
    event="repo.content:update",
    repo="dataset:me/data",
    status="retrying",
    origin="hub",
    attempt_count=2,
    webhook_id="w1",
    sent_status=202,
    due_at=1_700_000_030.0,
    duration=0.01234,
    http_status=500,
)
ATTEMPT = Attempt(2, 1_700_000_000.0, 0.01234, "raised", 500, b"", "Traceback")


def test_an_endpoint_is_what_anybody_may_know_of_it() -> None:
    assert views.endpoint(Published(TRAIN, "script"), "https://me.example") == {
        "name": "train",
        "path": "/webhooks/train",
        "url": "https://me.example/webhooks/train",
        "on": ["repo"],
        "repo": ["me/*"],
        "ref": ["refs/heads/main"],
        "secret": True,
    }


def test_a_server_is_what_anybody_may_know_of_it() -> None:
    shown = views.server(SERVER)
    endpoints = shown.pop("endpoints")
    assert shown == {
        "url": "https://me.example",
        "local_url": "http://127.0.0.1:7860",
        "inspector_url": "http://127.0.0.1:4040",
        "tunnel": "ngrok",
        "secret": False,
    }
    assert [each["url"] for each in endpoints] == [
        "https://me.example/webhooks/train",
        "https://me.example/webhooks/open",
    ]


def test_a_server_has_a_secret_if_all_its_endpoints_have() -> None:
    closed = replace(SERVER, endpoints=SERVER.endpoints[:1])
    assert views.server(closed)["secret"] is True


@pytest.mark.parametrize("secret", ["s3cret-of-it", "t0ken-of-it"])
def test_no_secret_is_shown(secret: str) -> None:
    assert secret not in json.dumps(views.server(SERVER))


def test_a_delivery_has_its_keys_in_milliseconds_and_utc() -> None:
    assert views.delivery(SUMMARY) == {
        "id": 17,
        "received_at": "2023-11-14T22:13:20.250Z",
        "endpoint": "train",
        "event": "repo.content:update",
        "repo": "dataset:me/data",
        "webhook_id": "w1",
        "origin": "hub",
        "replay": False,
        "status": "retrying",
        "http_status": 500,
        "sent_status": 202,
        "attempt_count": 2,
        "duration_ms": 12.3,
        "due_at": "2023-11-14T22:13:50.000Z",
        "pending_after": False,
    }


def test_what_is_not_known_is_null() -> None:
    new = replace(SUMMARY, event=None, repo=None, webhook_id=None, sent_status=None)
    new = replace(new, due_at=None, duration=None, http_status=None)
    assert [key for key, value in views.delivery(new).items() if value is None] == [
        "event",
        "repo",
        "webhook_id",
        "http_status",
        "sent_status",
        "duration_ms",
        "due_at",
    ]


@pytest.mark.parametrize(
    ("origin", "is_replay"),
    [("hub", False), ("trigger", False), ("catch-up", False), ("replay", True)],
)
def test_a_replay_is_one_of_the_origins(origin: str, is_replay: bool) -> None:
    assert views.delivery(replace(SUMMARY, origin=origin))["replay"] is is_replay


def test_an_attempt_has_its_keys_in_milliseconds_and_utc() -> None:
    assert views.attempt(ATTEMPT) == {
        "number": 2,
        "started_at": "2023-11-14T22:13:20.000Z",
        "duration_ms": 12.3,
        "status": "raised",
        "http_status": 500,
        "answer": "",
        "error": "Traceback",
    }


def test_an_answer_of_any_bytes_is_text() -> None:
    assert views.attempt(replace(ATTEMPT, answer=b"a\xff"))["answer"] == "a\ufffd"


def test_the_rest_of_a_delivery_is_what_can_be_replayed_and_its_attempts() -> None:
    one = Recorded("train", 1.0, "a=1", (("content-type", "a/b"),), b'{"a": 1}')
    shown = views.content(one, [ATTEMPT])
    assert shown == {
        "hfhooks_delivery": 1,
        "endpoint": "train",
        "received_at": "1970-01-01T00:00:01.000Z",
        "query": "a=1",
        "headers": [["content-type", "a/b"]],
        "body": '{"a": 1}',
        "attempts": [views.attempt(ATTEMPT)],
    }
    assert Exported.from_json(shown) == replace(Exported.of(one), received_at=None)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"null", None),
        (b"", ""),
        (b"plain", "plain"),
        (b"\xff", "\ufffd"),
        (b"[" * 100_000, "[" * 100_000),
        (b"9" * 5000, "9" * 5000),
        (b"NaN", "NaN"),
        (b'{"a": -Infinity}', '{"a": -Infinity}'),
        (b"1e999", "1e999"),
    ],
)
def test_what_was_sent_shows_the_answer_as_json_if_it_is_some(body: bytes, answer: Any) -> None:
    shown = views.sent(Sent(200, "succeeded", "train", 17, 0.0125, body))
    assert shown == {
        "id": 17,
        "endpoint": "train",
        "status": "succeeded",
        "http_status": 200,
        "duration_ms": 12.5,
        "answer": answer,
    }


def test_what_was_sent_says_why_that_became_of_it_where_something_does() -> None:
    failed = Sent(500, "failed", "train", 17, 0.0, b"", "ValueError: no")
    assert views.sent(failed)["why"] == "ValueError: no"


@given(st.binary(), st.none() | st.floats(0, 4e9))
def test_what_is_exported_comes_back_byte_for_byte(body: bytes, at: float | None) -> None:
    one = Exported("train", body, (("webhook-id", "w1"),), "a=1", at)
    shown = json.loads(json.dumps(views.exported(one)))
    assert Exported.from_json(shown) == replace(one, received_at=None)
    assert (shown["received_at"] is None) is (at is None)


def test_what_is_exported_says_of_what_version_it_is() -> None:
    assert views.exported(Exported(None, b"{}")) == {
        "hfhooks_delivery": 1,
        "endpoint": None,
        "received_at": None,
        "query": "",
        "headers": [],
        "body": "{}",
    }


@pytest.mark.parametrize("at", [nan, inf, -inf, 1e300, -1e300])
def test_what_is_no_time_is_null(at: float) -> None:
    assert views.moment(at) is None


@pytest.mark.parametrize(
    ("body", "shown"),
    [(b"", {"x": ""}), ("é".encode(), {"x": "é"}), (b"\xff\0", {"x_base64": "/wA="})],
)
def test_bytes_are_text_or_say_that_they_are_not(body: bytes, shown: dict[str, str]) -> None:
    assert views.bytes_("x", body) == shown
