"""What a request may look like: its head and its size."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain

from hfhooks.errors import StartError
from hfhooks.model.headers import MAX_BODY, SECRET_HEADER
from hfhooks.model.json_text import MOST_PARTS
from hfhooks.model.refusal import Refusal

__all__ = [
    "HEAR_WITHIN",
    "MAX_BODY",
    "MOST_AHEAD",
    "MOST_CONNECTIONS",
    "MOST_HEAD",
    "MOST_HELD",
    "READ_WITHIN",
    "REST_WITHIN",
    "Room",
    "busy",
    "check_head",
    "most_connections",
]

READ_WITHIN = 10.0
"""Seconds in which a request must have come, to the last byte of its body."""
REST_WITHIN = 75.0
"""Seconds in which another request must begin on a connection, or it is closed."""
HEAR_WITHIN = 2.0
"""Seconds that a sender gets to hear that the rest of its request is not wanted."""
MOST_HELD = 16 * 1024 * 1024
"""Bytes of all bodies that are arriving or being answered."""
MOST_AHEAD = 4 * 1024 * 1024
"""Bytes of all that follows requests which are not answered yet."""
MOST_CONNECTIONS = 512
"""Connections at once."""
MOST_FILES = 4096
"""Open files at once, where the system lets us."""
OTHER_FILES = 64
"""Open files that are no connections: the journal, the workers, the terminal."""
MOST_HEAD = 16 * 1024
"""Bytes of all header fields together."""
MOST_FIELDS = 64
LONGEST_TARGET = 2048
"""Bytes of path and query."""
HOST = re.compile(r"([\w.~-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?", re.ASCII)
VERSIONS = ("1.1", "1.0")
"""Of HTTP."""
ONCE = ("host", "transfer-encoding", SECRET_HEADER)
"""Fields of which two would mean two things."""

Headers = Mapping[str, str]


class Room:
    """What bodies there is room for: one of `max_body` bytes, and all that are held together."""

    def __init__(self, max_body: int = MAX_BODY, most_held: int = MOST_HELD) -> None:
        self.max_body = max_body
        self.most_parts = MOST_PARTS * max(max_body, MAX_BODY) // MAX_BODY
        """Parts of a body that is JSON."""
        self.most = max(most_held, 2 * max_body)
        self.held = 0
        self.make_more: Callable[[], bool] = lambda: False
        """Gives up a body that is on its way; False where there is none."""
        self.most_ahead, self.ahead = MOST_AHEAD, 0
        """Bytes that follow requests which are not answered yet."""

    def take(self, size: int, part: int) -> None:
        """Make room for a part of a body that has that size with it. Raises `Refusal`."""
        if size > self.max_body:
            raise Refusal(413, "too_big")
        while self.held + part > self.most:
            if not self.make_more():
                raise busy()
        self.held += part


def busy() -> Refusal:
    """Return why a request is not accepted now."""
    return Refusal(503, "busy", {"retry-after": "5"})


def most_connections() -> int:
    """Raise the limit of open files as far as may be; return how many connections that allows.

    Raises `StartError` where that is none.
    """
    try:
        import resource
    except ImportError:  # no such limit
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft <= OTHER_FILES:
        help = "Raise the limit: ulimit -n 1024"
        raise StartError(f"only {soft} files may be open at once, which is not enough.", help)
    return min(MOST_CONNECTIONS, soft - OTHER_FILES)


def check_head(
    version: str, target: bytes, fields: Headers, headers: Sequence[tuple[str, str]]
) -> None:
    """Accept a head of reasonable size that means one thing only. Raises `Refusal`.

    `headers` are the fields as they came, where one may come twice.
    """
    if len(target) > LONGEST_TARGET:
        raise Refusal(414, "target_too_long")
    if len(headers) > MOST_FIELDS or sum(map(len, chain.from_iterable(headers))) > MOST_HEAD:
        raise Refusal(431, "head_too_big")
    # An absolute target, or another host, may mean another server to whoever stands before us.
    host = fields.get("host")
    # A fragment is never sent, and whoever leaves it out sees another path.
    is_path = target[:1] == b"/" and b"#" not in target
    has_host = version == "1.0" if host is None else _is_host(host)
    is_clear = is_path and has_host and version in VERSIONS and _ends_clearly(version, fields)
    if not is_clear or (len(fields) < len(headers) and _comes_twice(headers)):
        raise Refusal(400, "bad_request")


def _ends_clearly(version: str, fields: Headers) -> bool:
    """Tell whether everybody on the way finds the same end of the body (RFC 9112, 6.1 and 6.3)."""
    encoding = fields.get("transfer-encoding")
    return encoding is None or (version == "1.1" and encoding.lower() == "chunked")


@lru_cache(maxsize=64)
def _is_host(value: str) -> bool:
    return HOST.fullmatch(value) is not None


def _comes_twice(headers: Sequence[tuple[str, str]]) -> bool:
    names = [name for name, _ in headers]
    return any(names.count(name) > 1 for name in ONCE)
