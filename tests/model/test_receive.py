"""Tables: what is sent, and what is recorded of it, or why it is refused."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.model.delivery import Recorded
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.events import Filter
from hfhooks.model.receive import check_media_type, receive
from hfhooks.model.refusal import Refusal
from hfhooks.redact import redact
from tests.harness import PAYLOADS

TRAIN = Endpoint("train")
RAW = Endpoint("raw", takes_json=False)
PUSH = Endpoint("push", Filter(on=("repo.content:update",), repo=("dataset:me/*",)))
EVENT = {
    "event": {"scope": "repo.content", "action": "update"},
    "repo": {"type": "dataset", "name": "me/data"},
}


def received(
    endpoint: Endpoint = TRAIN,
    body: bytes = b"{}",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    **values: Any,
) -> tuple[Recorded, str | None]:
    values = {"received_at": 12.5, **values}
    return receive(endpoint, query=query, headers=headers, body=body, **values)


def test_a_secret_is_no_webhooks_id() -> None:
    redact.learn("a-canary-as-an-id")
    ids = [
        received(headers=(("webhook-id", id),))[0].webhook_id for id in ("w1", "a-canary-as-an-id")
    ]
    assert ids == ["w1", None]


def kept(query: str) -> str:
    return received(query=query)[0].query


@pytest.mark.parametrize(
    "fields",
    [
        {"content-type": "application/json"},
        {"content-type": "Application/JSON ; charset=utf-8"},
        {"content-type": "application/vnd.hub+json"},
        {"content-type": "application/json", "content-encoding": "identity"},
        {"content-type": "application/json", "content-encoding": "Identity"},
    ],
)
def test_plain_json_is_accepted(fields: dict[str, str]) -> None:
    check_media_type(TRAIN, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/jsonl"},
        {"content-type": "text/plain; application/json"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "content-encoding": "identity, gzip"},
    ],
)
def test_anything_else_is_accepted_only_where_the_handler_reads_it(fields: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        check_media_type(TRAIN, fields)
    assert (caught.value.status, caught.value.word) == (415, "unsupported_media_type")
    check_media_type(RAW, fields)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": "\xff"}', "not_json"),
        (b"[{}]", "not_object"),
        (b'"{}"', "not_object"),
        (b"null", "not_object"),
        (b"1", "not_object"),
    ],
)
def test_a_body_is_a_json_object_unless_the_handler_reads_it(body: bytes, word: str) -> None:
    with pytest.raises(Refusal) as caught:
        received(body=body)
    assert (caught.value.status, caught.value.word) == (400, word)
    assert received(RAW, body)[0].body == body


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def listed(parts: int, text: bytes = b"") -> bytes:
    """Return a body with so many values and keys."""
    return b'{"a":["%b"' % text + b",1" * (parts - 3) + b"]}"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (nested(65), "too_deep"),
        (nested(300), "too_deep"),
        (nested(100_000), "too_deep"),
        (b'{"a":[[], %b]}' % nested(63), "too_deep"),
        (listed(200_001), "too_many_parts"),
        (b'{"a":[' + b"{}," * 100_000 + b"{}]}", "too_many_parts"),
        (b'{"a":[' + b"[]," * 1_000_000, "too_many_parts"),
    ],
    ids=lambda value: value if isinstance(value, str) else len(value),
)
def test_what_would_take_too_much_memory_is_refused_unless_the_handler_reads_it(
    body: bytes, word: str
) -> None:
    with pytest.raises(Refusal) as caught:
        received(body=body)
    assert (caught.value.status, caught.value.word) == (413, word)
    delivery, _ = received(RAW, body)
    assert (delivery.body, delivery.event) == (body, None)


@pytest.mark.parametrize(
    "body",
    [
        nested(64),
        b'{"a":[%b]}' % b",".join([nested(62)] * 1000),
        b'{"a":"%b"}' % (b"[{" * 50_000),
        listed(200_000),
        listed(100_000, b"x" * 4_000_000),
    ],
    ids=len,
)
def test_what_is_as_deep_or_large_as_may_be_is_accepted(body: bytes) -> None:
    assert received(body=body)[0].body == body


def test_the_largest_event_of_the_hub_is_accepted() -> None:
    files = [{"path": "p" * 100, "status": "added", "size": 1, "oid": "o" * 40}] * 10_000
    body = json.dumps(EVENT | {"updatedFiles": files}).encode()
    assert received(body=body)[0].event == "repo.content:update"


def test_more_parts_are_accepted_where_that_is_said() -> None:
    assert received(body=listed(200_001), most_parts=200_001)


@given(st.binary())
def test_whatever_comes_is_kept_as_it_is_or_refused(body: bytes) -> None:
    assert received(RAW, body)[0].body == body
    try:
        assert received(body=body)[0].body == body
    except Refusal as refusal:
        assert refusal.status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.text(st.characters(codec="utf-8")) | st.integers(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("scope"), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["event", "repo", "scope", "action", "updatedRefs", "webhook"])


@given(st.dictionaries(NAMES, JSON_VALUES))
def test_any_object_is_a_delivery_whatever_is_in_it(payload: dict[str, Any]) -> None:
    body = json.dumps(payload).encode()
    delivery, mismatch = received(PUSH, body)
    assert (delivery.body, delivery.status) == (body, "ignored" if mismatch else "queued")


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_every_sample_is_recorded_with_its_repository(path: Any) -> None:
    content = json.loads(path.read_bytes())
    delivery, mismatch = received(body=path.read_bytes())
    assert mismatch is None and delivery.body == path.read_bytes()
    assert (delivery.repo or "").rpartition(":")[2] == content.get("repo", {}).get("name", "")


def test_what_is_recorded() -> None:
    body = json.dumps(EVENT).encode()
    headers = (("webhook-id", "w-1"), ("x-webhook-secret", "s3cret"))
    delivery, mismatch = received(PUSH, body, "a=1", headers, received_at=9.0, origin="replay")
    assert mismatch is None
    assert delivery == Recorded(
        endpoint="push",
        received_at=9.0,
        query="a=1",
        headers=headers,
        body=body,
        event="repo.content:update",
        repo="dataset:me/data",
        webhook_id="w-1",
        origin="replay",
        status="queued",
    )


def test_what_no_filter_wants_is_recorded_as_ignored_and_says_why() -> None:
    delivery, mismatch = received(PUSH, b'{"event": {"scope": "repo", "action": "move"}}')
    assert (delivery.status, delivery.event) == ("ignored", "repo:move")
    assert mismatch == "event repo:move is not repo.content:update"


@pytest.mark.parametrize(
    ("given_", "webhook_id"),
    [
        ((), None),
        ((("webhook-id", "A.b_c:1-2"),), "A.b_c:1-2"),
        ((("webhook-id", "a" * 128),), "a" * 128),
        ((("webhook-id", "a" * 129),), None),
        ((("webhook-id", ""),), None),
        ((("webhook-id", "a b"),), None),
        ((("webhook-id", "a\n"),), None),
        ((("webhook-id", "\u0661"),), None),
        ((("x-webhook-id", "a"),), None),
        ((("webhook-id", "first"), ("webhook-id", "second")), "first"),
    ],
)
def test_an_id_of_the_hub_is_a_short_plain_word(
    given_: tuple[tuple[str, str], ...], webhook_id: str | None
) -> None:
    assert received(headers=given_)[0].webhook_id == webhook_id


@pytest.mark.parametrize(
    ("query", "recorded"),
    [
        ("", ""),
        ("a=1&b=%20&a=2", "a=1&b=%20&a=2"),
        ("secret=s3cret", ""),
        ("a=1&secret=s3cret&b=2", "a=1&b=2"),
        ("secret=one&secret=two&a=1", "a=1"),
        ("secret", ""),
        ("SECRET=s3cret", ""),
        ("s%65cret=s3cret&a=1", "a=1"),
        ("%73%65%63%72%65%74=s3cret", ""),
        ("a=secret&secrets=2", "a=secret&secrets=2"),
    ],
)
def test_a_secret_in_the_url_is_not_recorded(query: str, recorded: str) -> None:
    assert kept(query) == recorded


@given(st.text("secrtSECRET=&%+5673;a", max_size=40))
def test_nothing_but_the_secret_is_left_out(query: str) -> None:
    pairs = parse_qsl(query, keep_blank_values=True)
    others = [pair for pair in pairs if pair[0].lower() != "secret"]
    assert parse_qsl(kept(query), keep_blank_values=True) == others
