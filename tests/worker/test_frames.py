import struct
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.worker.frames import (
    ANSWER,
    ATTEMPT,
    CONTROL,
    KINDS,
    LONGEST,
    PIECE,
    PING,
    STOP,
    Frame,
    Malformed,
    Outbox,
    Parser,
    attempt_from,
    ending_from,
    message_from,
    of_attempt,
    of_ending,
    of_message,
)

SIZES = st.sampled_from([0, 1, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
TEXT = st.text(st.characters(codec="utf-8"))
LATIN = st.text(st.characters(max_codepoint=255))


def sent(*frames: Frame, most: int = 100_000) -> bytes:
    outbox = Outbox()
    for frame in frames:
        outbox.put(frame)
    parts = []
    while outbox:
        parts.append(outbox.take(most))
    return b"".join(parts)


@st.composite
def frames(draw: st.DrawFn) -> list[Frame]:
    """Frames as a side sends them: each that is answered has a number of its own."""
    kinds = draw(st.lists(st.sampled_from([*KINDS]), max_size=8))
    sizes = [draw(SIZES) for _ in kinds]
    return [
        Frame(kind, number, bytes([kind]) * size)
        for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True), 1)
    ]


@given(frames(), st.lists(st.integers(1, 4 * PIECE)), st.integers(1, 300_000))
def test_frames_arrive_whole_however_they_are_cut(
    sent_frames: list[Frame], cuts: list[int], most: int
) -> None:
    data = sent(*sent_frames, most=most)
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    parser = Parser()
    arrived = [f for start, end in pairwise(places) for f in parser.feed(data[start:end])]
    assert sorted(arrived) == sorted(sent_frames)
    control = [frame for frame in arrived if frame.kind in CONTROL]
    assert [f for f in control if len(f.payload) <= PIECE] == [
        f for f in sent_frames if f.kind in CONTROL and len(f.payload) <= PIECE
    ]


def test_control_comes_before_data_and_between_its_pieces() -> None:
    outbox = Outbox()
    outbox.put(Frame(ATTEMPT, 1, b"x" * 5 * PIECE))
    first = outbox.take(1)
    outbox.put(Frame(PING))
    outbox.put(Frame(ATTEMPT, 2, b"short"))
    parser = Parser()
    assert parser.feed(first) == []
    assert parser.feed(outbox.take(1)) == [Frame(PING)]
    rest = b""
    while outbox:
        rest += outbox.take(PIECE)
    assert [frame.number for frame in parser.feed(rest)] == [2, 1]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">IBI", PIECE + 1, ATTEMPT, 1),
        struct.pack(">IBI", 0, 0, 1),
        struct.pack(">IBI", 0, 18, 1),
        struct.pack(">IBI", 0, 0x80, 1),
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\xff" * 9,
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Parser().feed(data)


def test_a_frame_without_an_end_is_refused() -> None:
    parser = Parser()
    piece = struct.pack(">IBI", PIECE, ANSWER | 0x80, 1) + bytes(PIECE)
    with pytest.raises(Malformed):
        for _ in range(LONGEST // PIECE + 1):
            parser.feed(piece)


@given(st.binary(max_size=200))
def test_whatever_comes_is_frames_or_refused(data: bytes) -> None:
    with suppress(Malformed):
        Parser().feed(data)


@given(
    st.tuples(TEXT, LATIN, st.lists(st.tuples(LATIN, LATIN)), st.binary()),
    st.none() | TEXT,
    st.none() | TEXT,
)
def test_an_attempt_comes_as_it_was_sent(
    content: tuple[str, str, list[tuple[str, str]], bytes],
    webhook_id: str | None,
    secret: str | None,
) -> None:
    endpoint, query, headers, body = content
    delivery = Recorded(
        endpoint, 12.5, query, tuple(headers), body, webhook_id=webhook_id, origin="replay"
    )
    claim = Claim(17, delivery, 3, "a host")
    frame = of_attempt(5, claim, secret)
    assert (frame.kind, frame.number) == (ATTEMPT, 5)
    arrived, its_secret = attempt_from(frame)
    assert (arrived.id, arrived.number, arrived.delivery) == (17, 3, delivery)
    assert its_secret == secret


@given(
    st.sampled_from(["answered", "raised", "retry"]),
    st.lists(st.tuples(st.binary(), st.binary())),
    st.binary(),
    st.none() | st.floats(allow_nan=False),
)
def test_an_ending_comes_as_it_was_sent(
    kind: str, headers: list[tuple[bytes, bytes]], body: bytes, after: float | None
) -> None:
    ending = Ending(kind, 200, tuple(headers), body, after)
    assert ending_from(of_ending(5, ending)) == ending


def test_a_message_comes_as_it_was_sent() -> None:
    content = {"targets": [{"name": "é", "folders": []}], "verbose": True}
    assert message_from(of_message(STOP, content)) == content


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", b"\0\0\0\2[]", b"\0\0\0\4null", b"\0\0\0\1{"])
def test_what_means_nothing_is_refused(payload: bytes) -> None:
    for understand in (attempt_from, ending_from, message_from):
        with pytest.raises(Malformed):
            understand(Frame(ATTEMPT, 1, payload))
