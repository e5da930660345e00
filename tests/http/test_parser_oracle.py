"""What we take for a request another parser, as strict, takes for the same one: h11."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hfhooks.http.messages import Request
from hfhooks.http.parser import END, Event, Parser
from hfhooks.model.refusal import Refusal
from tests.http.test_bad_requests import CASES, Case


class Understood(NamedTuple):
    """A whole request."""

    method: str
    target: bytes
    headers: list[tuple[str, str]]
    body: bytes


def events_of(data: bytes) -> Iterator[Event]:
    parser = Parser()
    yield from parser.feed(data)
    while parser.ahead:
        yield from parser.feed()


def ours(data: bytes) -> list[Understood]:
    """Return the whole requests that our parser finds before something is wrong."""
    found: list[Understood] = []
    for event in events_of(data):
        if isinstance(event, Request):
            if event.bad_head or event.upgrades:
                break
            request, body = event, b""
        elif isinstance(event, bytes):
            body += event
        elif event is END:
            found.append(Understood(request.method, request.target, request.headers, body))
        else:
            assert isinstance(event, Refusal)
    return found


def theirs(data: bytes) -> list[Understood]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[Understood] = []
    body = b""
    request: Any = None
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return found
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            named = [(n.decode(), v.decode("latin-1")) for n, v in request.headers]
            method, target = request.method.decode(), bytes(request.target)
            found.append(Understood(method, target, named, body))
            if connection.our_state is h11.MUST_CLOSE or request.method == b"CONNECT":
                return found
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.states[h11.CLIENT] is not h11.DONE:
                return found
            connection.start_next_cycle()
        else:
            return found


TOKENS = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
VALUES = st.binary(max_size=20) | st.from_regex(rb"[ -~]{0,20}", fullmatch=True)
LENGTHS = st.sampled_from(["content-length", "Content-Length", "transfer-encoding"])
FRAMING = st.tuples(
    LENGTHS, st.sampled_from([b"0", b"2", b"02", b"+2", b"2, 2", b"chunked", b"gzip, chunked"])
)
FIELDS = st.lists(st.tuples(TOKENS, VALUES) | FRAMING, max_size=5)
BODIES = st.sampled_from(
    [
        b"",
        b"{}",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
    ]
)
METHODS = st.sampled_from(["POST", "GET", "HEAD", "PUT", "post", "P@ST"])
TARGETS = st.sampled_from(["/webhooks/a", "/a?b=c", "*", "http://a/b", "/a b", "/\x7f", "a"])
LINES = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return what looks like a request, and may be none."""
    line = draw(LINES)
    version = draw(st.sampled_from(["1.1", "1.1", "1.0", "2.0", "11"]))
    first = f"{draw(METHODS)} {draw(TARGETS)} HTTP/{version}".encode()
    fields = [("Host", b"hooks.test"), *draw(FIELDS)]
    heads = [name.encode() + b": " + value for name, value in fields]
    return line.join([first, *heads, b"", draw(BODIES)])


def agree(data: bytes) -> None:
    """See that of what we find nothing means anything else to the other one."""
    mine = ours(data)
    assert theirs(data)[: len(mine)] == mine


@settings(max_examples=300)
@given(st.lists(requests(), min_size=1, max_size=3))
@example([b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"] * 2)
def test_what_looks_like_requests_means_the_same_to_both(sent: list[bytes]) -> None:
    agree(b"".join(sent))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_known_to_be_sent_means_the_same_to_both(case: Case) -> None:
    agree(case.request)


def test_it_finds_what_there_is() -> None:
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" * 2
    assert ours(data) == theirs(data)
    assert [(each.method, each.body) for each in ours(data)] == [("POST", b"{}")] * 2
