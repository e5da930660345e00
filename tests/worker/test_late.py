"""A worker whose handlers can all be called directly has no FastAPI until something needs it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hfhooks.worker.frames import PRELOAD, READY
from tests.worker.test_process import Line

Script = Callable[..., Path]
SIMPLE = """
import sys
from hfhooks import WebhookPayload, webhook_endpoint

@webhook_endpoint
async def waits(payload: WebhookPayload): return payload

@webhook_endpoint
def in_a_thread(payload: dict): return payload

@webhook_endpoint
async def knows(payload: dict): return "fastapi" in sys.modules
"""
PUSH = b'{"event": {"action": "update", "scope": "repo"}, "repo": {"name": "me/a"}}'


@pytest.fixture
def line() -> Iterator[Line]:
    """The line to a worker of its own: one that is forked has imported all there is."""
    with closing(Line()) as line:
        yield line


def test_simple_handlers_are_called_without_it(line: Line, script: Script) -> None:
    assert line.load(script(SIMPLE))["has_fastapi"] is False
    assert line.call("in_a_thread", b'{"a": 1}').body == b'{"a":1}'
    assert line.call("waits", b"{}").status == 422
    assert line.call("knows").body == b"false"


def test_an_answer_that_is_no_json_yet_is_made_by_it(line: Line, script: Script) -> None:
    line.load(script(SIMPLE))
    assert json.loads(line.call("waits", PUSH).body)["repo"]["name"] == "me/a"
    assert line.call("knows").body == b"true"


def test_a_body_that_is_no_json_is_refused_by_it(line: Line, script: Script) -> None:
    line.load(script(SIMPLE))
    refused = line.call("in_a_thread", b"{")
    assert (refused.kind, refused.status) == ("refused", 422)
    assert line.call("knows").body == b"true"


def test_an_exception_of_its_own_is_answered_by_it(line: Line, script: Script) -> None:
    text = "\n@webhook_endpoint\ndef raises(payload: dict):\n"
    text += "    from fastapi import HTTPException\n    raise HTTPException(409, 'no')\n"
    line.load(script(SIMPLE + text))
    ending = line.call("raises")
    assert (ending.kind, ending.status, ending.body) == ("answered", 409, b'{"detail":"no"}')


@pytest.mark.parametrize(
    "text",
    [
        "import fastapi\n" + SIMPLE,
        SIMPLE + "\nfrom hfhooks import Delivery\n@webhook_endpoint\ndef b(d: Delivery): ...\n",
        SIMPLE + "\nfrom hfhooks import WebhooksServer\nWebhooksServer().fastapi_app\n",
    ],
)
def test_whoever_needs_it_has_it_from_the_start(line: Line, script: Script, text: str) -> None:
    assert line.load(script(text))["has_fastapi"] is True
    assert line.call("in_a_thread", b'{"a": 1}').body == b'{"a":1}'


@pytest.mark.parametrize("needs_fastapi", [True, False])
def test_a_spare_has_it_where_the_scripts_did(
    line: Line, script: Script, needs_fastapi: bool
) -> None:
    path = script(SIMPLE)
    line.tell(PRELOAD, path, needs_fastapi=needs_fastapi)
    line.next()
    assert line.load(path)["kind"] == READY
    assert line.call("knows").body == json.dumps(needs_fastapi).encode()


@pytest.mark.parametrize("secret", ["", "ä"])
def test_a_secret_that_protects_nothing_fails_the_load(
    monkeypatch: pytest.MonkeyPatch, script: Script, secret: str
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    with closing(Line()) as line:
        assert line.load(script(SIMPLE))["exit_code"] == 4


def test_the_secret_of_the_environment_guards_them(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "a secret of the environment")
    with closing(Line()) as line:
        endpoint, *_ = line.load(script(SIMPLE))["endpoints"]
    assert endpoint["secrets"] == ["a secret of the environment"]
