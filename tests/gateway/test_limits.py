import asyncio
from typing import Any

import pytest

from hfhooks.gateway.limits import Refusal, check_media_type, json_object, read_body
from hfhooks.wire import MAX_BODY


def receiver(*messages: dict[str, Any]) -> Any:
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    return receive


def chunk(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_pieces_is_put_together() -> None:
    receive = receiver(chunk(b"a", True), {"type": "http.request", "more_body": True}, chunk(b"b"))
    assert await read_body({}, receive) == b"ab"


async def test_the_largest_body_is_accepted() -> None:
    body = b"x" * MAX_BODY
    assert await read_body({"content-length": str(MAX_BODY)}, receiver(chunk(body))) == body


async def test_a_length_that_is_too_big_is_not_read() -> None:
    with pytest.raises(Refusal, match="too_big"):
        await read_body({"content-length": str(MAX_BODY + 1)}, receiver())


async def test_a_stream_that_is_too_big_is_not_read_to_its_end() -> None:
    with pytest.raises(Refusal, match="too_big"):
        await read_body({}, receiver(chunk(b"x" * MAX_BODY, True), chunk(b"x", True)))


async def test_a_sender_that_leaves_early_is_refused() -> None:
    with pytest.raises(Refusal, match="incomplete"):
        await read_body({}, receiver(chunk(b"{", True), {"type": "http.disconnect"}))


async def test_a_sender_that_takes_too_long_is_refused() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Refusal, match="too_slow") as caught:
        await read_body({}, receive, within=0.01)
    assert (caught.value.status, caught.value.headers) == (408, {"connection": "close"})


def test_identity_is_no_compression() -> None:
    check_media_type({"content-type": "application/json", "content-encoding": "identity"})


def test_a_json_object_is_returned() -> None:
    assert json_object(b' {"a": [1, null]} ') == {"a": [1, None]}
