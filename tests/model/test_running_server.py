"""What one process writes of a server, another one reads."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.events import Filter
from hfhooks.model.running_server import RunningServer

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PATTERNS = st.lists(TEXT, max_size=3).map(tuple)
ENDPOINTS = st.builds(
    Endpoint,
    name=TEXT,
    filter=st.builds(Filter, PATTERNS, PATTERNS, PATTERNS),
    retries=st.integers(0, 99),
    max_concurrency=st.integers(1, 99),
    takes_json=st.booleans(),
)
WHOSE = st.sampled_from(["nobody", "script", "environment"])
SERVERS = st.builds(
    RunningServer,
    pid=st.integers(1),
    port=st.integers(0, 65535),
    host=TEXT,
    url=TEXT,
    local_url=TEXT,
    inspector_url=st.none() | TEXT,
    tunnel=st.none() | TEXT,
    is_up=st.booleans(),
    endpoints=st.lists(st.builds(Published, ENDPOINTS, WHOSE), max_size=3),
    wait=st.floats(0, 1e6),
    journal=TEXT,
    token=TEXT,
)
ONE = RunningServer(
    pid=1,
    port=7860,
    host="127.0.0.1",
    url="https://me.example",
    local_url="http://127.0.0.1:7860",
    inspector_url=None,
    tunnel=None,
    is_up=True,
    endpoints=[Published(Endpoint("train"), "script")],
    wait=5.0,
    journal="sqlite:///j/journal.db",
    token="t0ken",
)
ENDPOINT = ONE.endpoints[0].endpoint.as_json()


@given(SERVERS)
def test_a_server_comes_back_as_it_was_written(server: RunningServer) -> None:
    assert RunningServer.from_json(json.loads(json.dumps(server.as_json()))) == server


def test_it_is_public_where_others_reach_it_by_another_url() -> None:
    assert ONE.is_public
    assert not replace(ONE, url=ONE.local_url).is_public


MALFORMED = (LookupError, TypeError, ValueError)


@pytest.mark.parametrize("key", ONE.as_json())
def test_without_one_of_its_parts_it_is_none(key: str) -> None:
    row = ONE.as_json()
    del row[key]
    with pytest.raises(MALFORMED):
        RunningServer.from_json(row)


@pytest.mark.parametrize(
    "changed",
    [
        {"more": 1},
        {"port": "7860"},
        {"port": None},
        {"host": None},
        {"url": 5},
        {"local_url": ["http://127.0.0.1"]},
        {"journal": None},
        {"token": None},
        {"endpoints": None},
        {"endpoints": 5},
        {"endpoints": ["train"]},
        {"endpoints": [{"endpoint": ENDPOINT}]},
        {"endpoints": [{"endpoint": {}, "secrets_of": "nobody"}]},
        {"endpoints": [{"endpoint": ENDPOINT | {"more": 1}, "secrets_of": "nobody"}]},
        {"endpoints": [{"endpoint": ENDPOINT | {"filter": {}}, "secrets_of": "nobody"}]},
        {"endpoints": [{"endpoint": ENDPOINT | {"filter": 5}, "secrets_of": "nobody"}]},
        {"endpoints": [{"endpoint": ENDPOINT | {"secrets": [5]}, "secrets_of": "nobody"}]},
        {"endpoints": [{"endpoint": ENDPOINT | {"secrets": None}, "secrets_of": "nobody"}]},
    ],
)
def test_with_another_part_it_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(MALFORMED):
        RunningServer.from_json(ONE.as_json() | changed)


@pytest.mark.parametrize("content", [None, [], {}, "x", 1])
def test_what_is_no_object_of_ours_is_none(content: Any) -> None:
    with pytest.raises(MALFORMED):
        RunningServer.from_json(content)
