"""What gateway and worker say to each other: frames, as bytes. No sockets here.

A frame is a kind, a number, and a payload; many may be on their way at once in both directions. A
long one goes in pieces, and others may come between them.
"""

import struct
from collections import deque
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import from_json, to_json

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending

__all__ = [
    "ALIVE",
    "ANSWER",
    "ATTEMPT",
    "BLOCKED",
    "CANCEL",
    "CONTROL",
    "FAILED",
    "LATE",
    "LEFT",
    "LOAD",
    "PAGE",
    "PING",
    "PRELOAD",
    "PRELOADED",
    "READ",
    "READY",
    "SECRET",
    "SERVED",
    "STOP",
    "Frame",
    "Malformed",
    "Outbox",
    "Parser",
    "attempt_from",
    "ending_from",
    "message_from",
    "of_attempt",
    "of_ending",
    "of_message",
]

ATTEMPT, ANSWER = 1, 2
"""A call of a handler, and how it ended: what is answered has the number of what was asked."""
PRELOAD, LOAD, PING, STOP, PAGE = 3, 4, 5, 6, 7
"""What the gateway says beside; with `PAGE` comes a socket that a page's request comes by."""
CANCEL = 16
"""End the call for a delivery: nobody waits for its outcome."""
LEFT = 17
"""What handlers have left behind that have ended, where the worker is to end."""
PRELOADED, READY, FAILED, ALIVE, BLOCKED, LATE, SERVED, SECRET = 8, 9, 10, 11, 12, 13, 14, 15
"""What the worker says beside; `LATE` tells of what was left to be done after an answer, `SECRET`
what to mask."""
KINDS = range(1, 18)
CONTROL = frozenset(KINDS) - {ATTEMPT, ANSWER}
MORE = 0x80
"""Marks the kind of a piece that more pieces follow."""
HEADER = struct.Struct(">IBI")
HEAD = struct.Struct(">I")
PIECE = 64 * 1024
"""Bytes of a piece."""
READ = 64 * 1024
"""Bytes that are read at once; room for more of them takes longer to get than most reads."""
LONGEST = 128 * 1024 * 1024
"""Bytes of a frame: a body, or an answer, and what comes with it."""


class Malformed(Exception):
    """What has come is no frame."""


class Frame(NamedTuple):
    kind: int
    number: int = 0
    payload: bytes = b""


_Unsent: TypeAlias = tuple[int, int, bytes | memoryview]
"""A frame, or what is left of it."""


class Outbox:
    """Frames that are to be sent; control comes before data, and data in turn."""

    def __init__(self) -> None:
        self._control: deque[_Unsent] = deque()
        self._data: deque[_Unsent] = deque()

    def __bool__(self) -> bool:
        return bool(self._control or self._data)

    def put(self, frame: Frame) -> None:
        (self._control if frame.kind in CONTROL else self._data).append(frame)

    def take(self, most: int) -> bytes:
        """Return what is to be sent next, of about so many bytes at most."""
        parts: list[bytes | memoryview] = []
        size = 0
        while self and size < most:
            queue = self._control or self._data
            kind, number, piece = queue.popleft()
            if len(piece) > PIECE:
                whole = memoryview(piece)  # of which a part is no copy
                piece, rest = whole[:PIECE], whole[PIECE:]
                queue.append((kind, number, rest))
                kind |= MORE
            parts += (HEADER.pack(len(piece), kind, number), piece)
            size += len(piece) + HEADER.size
        return b"".join(parts)


class Parser:
    """Frames that come, in whatever portions."""

    def __init__(self) -> None:
        self._buffer = b""
        self._pieces: dict[tuple[int, int], list[bytes]] = {}

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete with these bytes. Raises `Malformed`."""
        buffer = self._buffer + data if self._buffer else data
        frames: list[Frame] = []
        at = 0
        while len(buffer) - at >= HEADER.size:
            length, kind, number = HEADER.unpack_from(buffer, at)
            if length > PIECE or kind & ~MORE not in KINDS:
                raise Malformed(f"kind {kind}, {length} bytes")
            start, end = at + HEADER.size, at + HEADER.size + length
            if len(buffer) < end:
                break
            at = end
            if frame := self._whole(kind, number, buffer[start:end]):
                frames.append(frame)
        self._buffer = buffer[at:]
        return frames

    def _whole(self, kind: int, number: int, piece: bytes) -> Frame | None:
        """Return the frame that a piece completes, if it does."""
        if not (self._pieces or kind & MORE):
            return Frame(kind, number, piece)
        key = (kind & ~MORE, number)
        if kind & MORE:
            pieces = self._pieces.setdefault(key, [])
            pieces.append(piece)
            if len(pieces) * PIECE > LONGEST:
                raise Malformed(f"more than {LONGEST} bytes")
            return None
        if earlier := self._pieces.pop(key, None):
            piece = b"".join([*earlier, piece])
        return Frame(*key, piece)


def of_message(kind: int, content: dict[str, Any]) -> Frame:
    """Return a frame that says this."""
    return Frame(kind, 0, to_json(content))


def message_from(frame: Frame) -> dict[str, Any]:
    """Return what a frame says. Raises `Malformed`."""
    content = _decoded(frame.payload)
    if not isinstance(content, dict):
        raise Malformed("a message is an object")
    return content


def of_attempt(number: int, claim: Claim, secret: str | None) -> Frame:
    """Return the frame that has a handler called."""
    delivery = claim.delivery
    head = (
        claim.id,
        claim.number,
        delivery.endpoint,
        delivery.query,
        delivery.headers,
        delivery.webhook_id,
        delivery.origin,
        delivery.received_at,
        secret,
    )
    return Frame(ATTEMPT, number, _with_head(head, delivery.body))


def attempt_from(frame: Frame) -> tuple[Claim, str | None]:
    """Return the claim, and the secret that its handler may compare with. Raises `Malformed`."""
    head, body = _parted(frame.payload)
    try:
        id, number, endpoint, query, headers, webhook_id, origin, received_at, secret = head
        delivery = Recorded(
            endpoint=endpoint,
            received_at=received_at,
            query=query,
            headers=tuple((name, value) for name, value in headers),
            body=body,
            webhook_id=webhook_id,
            origin=origin,
        )
    except (TypeError, ValueError) as error:
        raise Malformed("an attempt") from error
    return Claim(id, delivery, number, ""), secret


def of_ending(number: int, ending: Ending) -> Frame:
    """Return the frame that says how a call ended."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in ending.headers]
    head = (ending.kind, ending.status, ending.retry_after, headers, ending.pending_after)
    return Frame(ANSWER, number, _with_head(head, ending.body))


def ending_from(frame: Frame) -> Ending:
    """Return how a call ended. Raises `Malformed`."""
    head, body = _parted(frame.payload)
    try:
        kind, status, retry_after, named, pending_after = head
        headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in named)
    except (TypeError, ValueError) as error:
        raise Malformed("an answer") from error
    return Ending(kind, status, headers, body, retry_after, pending_after)


def _with_head(head: Any, body: bytes) -> bytes:
    encoded = to_json(head, inf_nan_mode="constants")
    return b"".join((HEAD.pack(len(encoded)), encoded, body))


def _parted(payload: bytes) -> tuple[Any, bytes]:
    if len(payload) < HEAD.size:
        raise Malformed("no head")
    end = HEAD.size + HEAD.unpack_from(payload)[0]
    return _decoded(payload[HEAD.size : end]), payload[end:]


def _decoded(text: bytes) -> Any:
    try:
        return from_json(text)
    except ValueError as error:
        raise Malformed("no JSON") from error
