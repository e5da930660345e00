"""Bytes in, requests out. What becomes of each bad request: `test_bad_requests.py`."""

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hfhooks.http.connection import Arrivals
from hfhooks.http.limits import LONGEST_TARGET, MOST_FIELDS, MOST_HEAD, Room
from hfhooks.http.messages import Request
from hfhooks.http.parser import END, Event, Other, Parser, State
from hfhooks.model.refusal import Refusal

HOST = b"host: hooks.test\r\n"


class Sender:
    """Sends bytes, and sees which requests they become."""

    def __init__(self, max_body: int = 1024) -> None:
        self.room = Room(max_body)
        self.parser = Parser()
        turns: Any = self
        self.arrivals = Arrivals(turns, self.parser, None, turns)
        self.requests: list[Request] = []
        self.other: bytes | None = None
        """What belongs to another protocol."""

    def add(self, request: Request) -> None:
        self.requests.append(request)

    def site_for(self, _: Request) -> None: ...

    def send(self, *parts: bytes) -> "Sender":
        for part in parts:
            if self.other is None:
                self.hear_all(self.parser.feed(part))
                while self.parser.ahead:
                    self.hear_all(self.parser.feed())
            else:
                self.other += part
        return self

    def hear_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self.hear(event)

    def hear(self, event: Event) -> None:
        if isinstance(event, Other):
            self.other = event.data
        else:
            self.arrivals.take(event)

    @property
    def is_deaf(self) -> bool:
        return self.parser.state is State.DEAF

    @property
    def words(self) -> list[str | None]:
        """Why each of the requests is refused by its head, None where it is not."""
        return [each.bad_head.word if each.bad_head else None for each in self.requests]

    @property
    def bodies(self) -> list[bytes | str | None]:
        return [body_of(each) for each in self.requests]

    @property
    def all(self) -> object:
        """All that can be known of what has come."""
        heads = [
            (each.target, each.version, each.upgrades, each.method, each.headers)
            for each in self.requests
        ]
        stay = [each.stays for each in self.requests]
        return heads, stay, self.words, self.bodies, self.other, self.is_deaf


def body_of(request: Request) -> bytes | str | None:
    """Return a body, or why it is refused, or None while it is on its way."""
    there: list[bool] = []
    request.read(lambda: there.append(True))
    try:
        return request.body if there else None
    except Refusal as refusal:
        return refusal.word


def post(body: bytes = b"", more: bytes = b"", target: bytes = b"/webhooks/train") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return b"POST %b HTTP/1.1\r\n%b%b%b\r\n%b" % (target, HOST, length, more, body)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    head = b"POST / HTTP/1.1\r\n%btransfer-encoding: chunked\r\n\r\n" % HOST
    return b"%b%b0\r\n%b\r\n" % (head, b"".join(map(chunk, chunks)), trailer)


UPGRADE = b"GET / HTTP/1.1\r\n%bconnection: upgrade\r\nupgrade: websocket\r\n\r\n" % HOST
REQUESTS = st.sampled_from(
    [
        post(),
        post(b'{"a": 1}'),
        post(b"x" * 300, b"X-Word: \xe9 \r\nx-word:b\r\n", b"/webhooks/%61?b=%20&c"),
        post(b"x" * 2000),
        post(b"{}", b"connection: close\r\n"),
        chunked(),
        chunked(b"{", b'"a": 1', b"}", trailer=b"x-late: 1\r\n"),
        b"GET /health HTTP/1.0\r\n\r\n",
        b"\r\n" + post(),
        UPGRADE,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /%b HTTP/1.1\r\n%b\r\n" % (b"a" * LONGEST_TARGET, HOST),
        b"\x16\x03\x01 no HTTP\r\n\r\n",
        post(b"{}").replace(b"length: 2", b"length: x"),
        post(b"{}")[:-1],
    ]
)


@given(st.lists(REQUESTS, max_size=4), st.lists(st.integers(0, 3000), max_size=20))
@example([post(b"{}"), chunked(b"{}"), UPGRADE, post()], list(range(600)))
@example([post(b"{}"), b"noise \r\n\r\n", post(b"{}")], list(range(600)))
def test_however_bytes_are_split_the_same_requests_come_of_them(
    sent: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(sent)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:end] for start, end in pairwise(places)]
    assert Sender().send(*parts).all == Sender().send(data).all


@given(st.binary(max_size=300), st.integers(0, 300))
def test_whatever_comes_after_a_request_it_is_not_understood_once(data: bytes, cut: int) -> None:
    sender = Sender().send(post(b"{}"), data[:cut], data[cut:])
    assert sender.bodies[0] == b"{}"
    if sender.is_deaf:
        before = len(sender.requests)
        assert len(sender.send(post()).requests) == before


def test_a_request_is_what_its_sender_wrote() -> None:
    sender = Sender().send(post(b"{}", b"X-Word: \xe9 \r\n", b"/webhooks/%61%2fb?c=%20&d"))
    [request] = sender.requests
    assert (request.method, request.path) == ("POST", "/webhooks/a/b")
    assert (request.query, request.target) == ("c=%20&d", b"/webhooks/%61%2fb?c=%20&d")
    assert request.headers[1:] == [("content-length", "2"), ("x-word", "\xe9")]
    assert (request.version, request.upgrades, request.stays) == ("1.1", False, True)
    assert sender.bodies == [b"{}"]


def test_a_field_has_no_spaces_around_it() -> None:
    sender = Sender().send(post(b"", b"a:b\r\nc: \td e \t\r\nf: \r\n"))
    assert sender.requests[0].headers[2:] == [("a", "b"), ("c", "d e"), ("f", "")]


def test_requests_that_follow_at_once_are_each_one() -> None:
    sender = Sender().send(post(b"1") + chunked(b"2", b"3") + post() + post(b"4"))
    assert sender.bodies == [b"1", b"23", b"", b"4"]


@pytest.mark.parametrize(
    ("sent", "count"),
    [(b"GET / HTTP/1.1\r\n%b\r\n" % HOST, 7000), (chunked(b"{}", b"\r\n\r\n"), 3000)],
    ids=["without a body", "in chunks"],
)
def test_of_many_requests_one_is_taken_at_a_time(sent: bytes, count: int) -> None:
    parser = Parser()
    events = parser.feed(sent * count)
    seen = 0
    while events:
        seen += 1
        assert [type(each) for each in events].count(Request) == 1 and events[-1] is END
        assert parser.ahead == (len(sent) * count if seen < count else 0)
        events = parser.feed()
    assert seen == count


def test_what_comes_before_its_turn_is_held() -> None:
    parser = Parser()
    parser.feed(post(b"1") + post(b"2")[:-5])
    parser.hold(post(b"2")[-5:] + post(b"3"))
    bodies = [parser.feed()[1] for _ in range(2)]
    assert (bodies, parser.ahead) == ([b"2", b"3"], 0)


def test_parts_of_two_bytes_take_no_more_room_than_they_have_bytes() -> None:
    body = b"ab" * 100_000
    sender = Sender(max_body=len(body))
    sender.send(chunked()[:-5])
    tracemalloc.start()
    for _ in range(100):
        sender.send(chunk(b"ab") * 1000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2 * len(body)
    assert sender.send(b"0\r\n\r\n").bodies == [body]


def test_while_a_body_is_on_its_way_its_request_is_the_one_that_arrives() -> None:
    sender = Sender()
    parser = sender.parser
    seen = []
    for part in (b"POST / ", b"HTTP/1.1\r\ncontent-length: 2\r\n" + HOST + b"\r\n", b"{", b"}"):
        sender.send(part)
        seen.append((parser.state, sender.arrivals.current is not None))
    assert seen == [
        (State.HEAD, False),
        (State.BODY, True),
        (State.BODY, True),
        (State.RESTING, False),
    ]


def test_trailers_are_no_headers() -> None:
    sender = Sender().send(chunked(b"{}", trailer=b"x-webhook-secret: s3cret\r\n"))
    assert [name for name, _ in sender.requests[0].headers] == ["host", "transfer-encoding"]
    assert sender.bodies == [b"{}"]


@pytest.mark.parametrize(
    ("sent", "stays"),
    [
        (post(), True),
        (post(b"", b"connection: close\r\n"), False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", False),
    ],
)
def test_whether_its_sender_may_send_another_one(sent: bytes, stays: bool) -> None:
    assert [each.stays for each in Sender().send(sent).requests] == [stays]


def test_what_follows_an_upgrade_is_another_protocols() -> None:
    sender = Sender().send(UPGRADE + b"\x81\x05hello", b"more")
    assert [each.upgrades for each in sender.requests] == [True]
    assert sender.other == b"\x81\x05hellomore"


def test_an_upgrade_with_a_body_is_refused() -> None:
    sent = UPGRADE.replace(b"\r\n\r\n", b"\r\ncontent-length: 2\r\n\r\n{}")
    assert Sender().send(sent).words == ["bad_request"]


LARGEST = post(
    b"{}", b"".join(b"x-%02d: %b\r\n" % (n, b"v" * 255) for n in range(61)), b"/" + b"a" * 2047
)


def test_the_largest_head_is_accepted_however_it_comes() -> None:
    assert MOST_HEAD < LARGEST.index(b"\r\n\r\n") < MOST_HEAD + LONGEST_TARGET + 4 * MOST_FIELDS
    for size in (1, 7, len(LARGEST)):
        parts = [LARGEST[at : at + size] for at in range(0, len(LARGEST), size)]
        assert Sender().send(*parts).bodies == [b"{}"]


def test_a_head_without_an_end_is_refused_before_it_takes_much_room() -> None:
    sender = Sender().send(b"GET / HTTP/1.1\r\nx: ")
    sent = 0
    while not sender.requests:
        sender.send(b"v" * 1000)
        sent += 1000
    assert sender.words == ["head_too_big"] and sender.is_deaf
    assert sent < 3 * MOST_HEAD


def test_blank_lines_without_an_end_are_refused_too() -> None:
    sender = Sender().send(post(b"{}"))
    sent = 0
    while not sender.is_deaf and sent < 9 * MOST_HEAD:
        sender.send(b"\r\n" * 500)
        sent += 1000
    assert sender.words == [None, "head_too_big"]
    assert sent < 3 * MOST_HEAD


def test_each_head_has_its_own_room() -> None:
    request = post(b"", b"x: %b\r\n" % (b"v" * 9000))
    halves = [half for _ in range(20) for half in (request[:5000], request[5000:])]
    assert Sender().send(*halves).words == [None] * 20


@pytest.mark.parametrize(("begun", "more"), [(b"0\r\n", b"x: 1\r\n"), (b"2;x=", b"vvvv")])
def test_trailers_and_descriptions_of_chunks_without_an_end_are_refused(
    begun: bytes, more: bytes
) -> None:
    sender = Sender().send(chunked(b"{}")[: -len(b"0\r\n\r\n")] + begun)
    while not sender.is_deaf:
        sender.send(more * 100)
    assert sender.bodies == ["head_too_big"]


def test_a_body_may_come_in_many_parts() -> None:
    chunks = [b"x" * 100] * (MOST_HEAD // 50)
    sender = Sender(max_body=10 * MOST_HEAD).send(
        *[chunked()[:-5], *map(chunk, chunks), b"0\r\n\r\n"]
    )
    assert sender.bodies == [b"".join(chunks)]


def test_a_body_that_is_too_big_is_not_held() -> None:
    sender = Sender(max_body=10).send(chunked(b"x" * 6, b"y" * 6)[:-5])
    assert sender.bodies == ["too_big"]
    assert sender.room.held == 0


def test_who_is_refused_while_a_body_arrives_hears_nothing_else() -> None:
    sender = Sender().send(post(b"{}")[:-1])
    sender.hear(Refusal(408, "too_slow"))
    assert sender.send(b"}" + post()).bodies == ["too_slow"]


def test_who_is_refused_in_a_head_gets_a_request_of_its_own() -> None:
    sender = Sender().send(post(b"{}") + b"GET / HT")
    sender.hear(Refusal(408, "too_slow"))
    assert sender.send(post()).words == [None, "too_slow"]


def test_a_body_that_breaks_off_is_refused_and_the_next_request_is_none_of_it() -> None:
    sender = Sender().send(post(b"{}")[:-1])
    sender.arrivals.break_off()
    sender.requests[0].refuse(Refusal(408, "too_slow"))
    assert sender.send(b"}" + post(b"1")).bodies == ["incomplete", b"1"]
