"""What a request may look like: its head, its size, its media type, and that it is JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from hfhooks.wire import SECRET_HEADER

__all__ = [
    "HEAR_WITHIN",
    "MOST_CONNECTIONS",
    "MOST_HEAD",
    "READ_WITHIN",
    "REST_WITHIN",
    "Refusal",
    "check_head",
    "check_media_type",
    "json_object",
]

READ_WITHIN = 10.0
"""Seconds in which a request must have come, to the last byte of its body."""
REST_WITHIN = 75.0
"""Seconds in which another request must begin on a connection, or it is closed."""
HEAR_WITHIN = 2.0
"""Seconds that a sender gets to hear that the rest of its request is not wanted."""
MOST_CONNECTIONS = 512
"""Connections at once; Linux gives a process 1,024 files, and the worker wants some too."""
MOST_HEAD = 16 * 1024
"""Bytes of all header fields together."""
MOST_FIELDS = 64
LONGEST_TARGET = 2048
"""Bytes of path and query."""
ONCE = ("host", SECRET_HEADER)
"""Fields of which two would mean two things."""

Headers = Mapping[str, str]


class Refusal(Exception):
    """A request that is not accepted: the status and the one word its sender is told."""

    def __init__(self, status: int, word: str, headers: Headers | None = None) -> None:
        super().__init__(word)
        self.status = status
        self.word = word
        self.headers = headers or {}


def check_head(
    version: str, target: bytes, fields: Headers, headers: Sequence[tuple[str, str]]
) -> None:
    """Accept a head of reasonable size that means one thing only. Raises `Refusal`.

    `headers` are the fields as they came, where one may come twice.
    """
    if len(target) > LONGEST_TARGET:
        raise Refusal(414, "target_too_long")
    if len(headers) > MOST_FIELDS or sum(len(n) + len(v) for n, v in headers) > MOST_HEAD:
        raise Refusal(431, "head_too_big")
    # An absolute target, or another host, may mean another server to whoever stands before us.
    is_clear = target[:1] == b"/" and ("host" in fields or version == "1.0")
    if not is_clear or (len(fields) < len(headers) and _comes_twice(headers)):
        raise Refusal(400, "bad_request")


def _comes_twice(headers: Sequence[tuple[str, str]]) -> bool:
    names = [name for name, _ in headers]
    return any(names.count(name) > 1 for name in ONCE)


def check_media_type(headers: Headers) -> None:
    """Accept uncompressed JSON. Raises `Refusal`."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if not is_json or headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "unsupported_media_type")


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in the body. Raises `Refusal` if it is none."""
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, "not_json") from error
    if not isinstance(payload, dict):
        raise Refusal(400, "not_object")
    return payload
