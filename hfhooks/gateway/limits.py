"""What a request may look like: its media type, its size, and that it is a JSON object."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic_core import from_json

from hfhooks.wire import MAX_BODY

__all__ = ["READ_WITHIN", "Refusal", "read_body", "check_media_type", "json_object"]

READ_WITHIN = 10.0
"""Seconds in which a body must have come."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Headers = Mapping[str, str]


class Refusal(Exception):
    """A request that is not accepted: the status and the one word its sender is told."""

    def __init__(self, status: int, word: str, headers: Headers | None = None) -> None:
        super().__init__(word)
        self.status = status
        self.word = word
        self.headers = headers or {}


def check_media_type(headers: Headers) -> None:
    """Accept uncompressed JSON. Raises `Refusal`."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if not is_json or headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "unsupported_media_type")


async def read_body(headers: Headers, receive: Receive, within: float = READ_WITHIN) -> bytes:
    """Return the body. Raises `Refusal` when it is too big or too slow, or the sender is gone."""
    try:
        async with asyncio.timeout(within):
            return await _read(headers, receive)
    except TimeoutError:
        raise Refusal(408, "too_slow", {"connection": "close"}) from None


async def _read(headers: Headers, receive: Receive) -> bytes:
    if int(headers.get("content-length", 0)) > MAX_BODY:
        raise Refusal(413, "too_big")
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "incomplete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY:
            raise Refusal(413, "too_big")
        more = message.get("more_body", False)
    return b"".join(chunks)


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in the body. Raises `Refusal` if it is none."""
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, "not_json") from error
    if not isinstance(payload, dict):
        raise Refusal(400, "not_object")
    return payload
