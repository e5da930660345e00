"""Everything bad that is known to be sent to public URLs: what it is answered, and that it costs
nothing. The numbers are those of the project's list of bad inputs.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from hfhooks.http.limits import MAX_BODY
from hfhooks.http.listener import Listener, bind
from hfhooks.journal import Journal
from hfhooks.script.registry import Registry
from hfhooks.script.server import WebhooksServer
from hfhooks.tasks import Tasks
from tests.wired import settle

SECRET = "a-secret-that-is-long-enough"
EVENT = {"event": {"scope": "repo", "action": "update"}, "repo": {"type": "model", "name": "a/b"}}
BODY = json.dumps(EVENT).encode()
JSON = "content-type: application/json"
KNOWN = f"x-webhook-secret: {SECRET}"
PATH = "/webhooks/train"
EMPTY = b"2\r\n{}\r\n0\r\n\r\n"
"""An object in a chunk."""


def head(
    *fields: str, line: str = f"POST {PATH} HTTP/1.1", host: str | None = "hooks.test"
) -> bytes:
    lines = [line, *([f"host: {host}"] if host is not None else []), *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def post(body: bytes = BODY, *fields: str, path: str = PATH) -> bytes:
    """Return a request that is in order, but for what is given."""
    length = f"content-length: {len(body)}"
    return head(KNOWN, JSON, length, *fields, line=f"POST {path} HTTP/1.1") + body


def with_secret(*fields: str) -> bytes:
    return head(*fields, JSON, f"content-length: {len(BODY)}") + BODY


def method(name: str, path: str = PATH) -> bytes:
    return head(KNOWN, line=f"{name} {path} HTTP/1.1")


def chunked(*parts: bytes) -> bytes:
    return head(KNOWN, JSON, "transfer-encoding: chunked") + b"".join(parts)


@dataclass(frozen=True)
class Case:
    """A request, and what becomes of it."""

    name: str
    request: bytes
    status: int
    word: str = ""
    is_recorded: bool = False

    @property
    def stays(self) -> bool:
        """Its sender may send another one: where this one ends is clear."""
        is_clear = self.word != "bad_request" or "in the URL" in self.name
        is_read = self.status not in (408, 413, 414, 431) or self.word == "too_deep"
        return is_clear and is_read and "WebSocket" not in self.name

    def __str__(self) -> str:
        return self.name


def unauthorized(name: str, request: bytes) -> Case:
    return Case(name, request, 401, "unauthorized")


def bad(name: str, request: bytes) -> Case:
    return Case(name, request, 400, "bad_request")


def not_json(name: str, body: bytes) -> Case:
    return Case(name, post(body), 400, "not_json")


def accepted(name: str, body: bytes, *fields: str) -> Case:
    return Case(name, post(body, *fields), 200, is_recorded=True)


def missing(name: str, path: str) -> Case:
    return Case(name, post(path=path), 404, "not_found")


def other_media(name: str, *fields: str) -> Case:
    request = head(KNOWN, *fields, f"content-length: {len(BODY)}") + BODY
    return Case(name, request, 415, "unsupported_media_type")


CASES = [
    unauthorized("1 no secret", with_secret()),
    unauthorized("2 a wrong secret", with_secret("x-webhook-secret: wrong")),
    unauthorized("2 a byte", with_secret("x-webhook-secret: a")),
    unauthorized("2 a long one", with_secret(f"x-webhook-secret: {'a' * 16_000}")),
    unauthorized("2 all but the last", with_secret(f"x-webhook-secret: {SECRET[:-1]}")),
    unauthorized("2 one more", with_secret(f"x-webhook-secret: {SECRET}x")),
    unauthorized("3 UTF-8", with_secret("x-webhook-secret: \xc3\xa9")),
    unauthorized("3 other bytes", with_secret("x-webhook-secret: \x80\xff")),
    unauthorized("4 an empty secret", with_secret("x-webhook-secret:")),
    bad("a fragment in the path", post(path=f"{PATH}#x")),
    bad("5 two secrets", with_secret(KNOWN, "x-webhook-secret: other")),
    bad(
        "5 two secrets in the URL",
        head(JSON, "content-length: 2", line=f"POST {PATH}?secret={SECRET}&secret=b HTTP/1.1")
        + b"{}",
    ),
    unauthorized(
        "6 a wrong secret in the URL",
        head(JSON, "content-length: 2", line=f"POST {PATH}?secret=wrong HTTP/1.1") + b"{}",
    ),
    not_json("7 an empty body", b""),
    *(
        Case(f"8 {body}", post(body.encode()), 400, "not_object")
        for body in ("[]", '"x"', "1", "null")
    ),
    not_json("9 truncated", BODY[:-1]),
    not_json("9 something after it", BODY + b"x"),
    not_json("9 two documents", BODY + BODY),
    not_json("9 a comment", b"{} // so"),
    not_json("9 single quotes", b"{'a': 1}"),
    accepted("10 a byte order mark", b"\xef\xbb\xbf" + BODY),
    not_json("10 UTF-16", BODY.decode().encode("utf-16")),
    not_json("10 no UTF-8", b'{"a": "\xff"}'),
    accepted("10 a lone surrogate", rb'{"a": "\ud800"}'),
    not_json("11 NaN", b'{"a": NaN}'),
    not_json("11 Infinity", b'{"a": -Infinity}'),
    accepted("12 a number beyond all bounds", b'{"a": 1e999}'),
    not_json("13 a number of 5,000 digits", b'{"a": ' + b"9" * 5000 + b"}"),
    Case("14 202 levels", post(b'{"a":' * 202 + b"1" + b"}" * 202), 413, "too_deep"),
    Case("14 100,000 brackets", post(b"[" * 100_000), 413, "too_deep"),
    accepted("15 a key twice", b'{"a": 1, "a":  2}'),
    accepted("16 a NUL in a text", rb'{"a": "\u0000"}'),
    Case("17 too big", head(KNOWN, JSON, f"content-length: {MAX_BODY + 1}"), 413, "too_big"),
    Case("17 much too big", head(KNOWN, JSON, f"content-length: {2**63}"), 413, "too_big"),
    Case(
        "18 too big in chunks",
        chunked(*[b"20000\r\n" + b" " * 0x20000 + b"\r\n"] * (MAX_BODY // 0x20000 + 1)),
        413,
        "too_big",
    ),
    Case("19 half a body", head(KNOWN, JSON, "content-length: 10") + b"12345", 408, "too_slow"),
    bad(
        "21 a length and chunks",
        chunked(b"0\r\n\r\n").replace(b"transfer", b"content-length: 5\r\ntransfer"),
    ),
    bad(
        "21 chunks and a length",
        head(KNOWN, JSON, "transfer-encoding: chunked", "content-length: 5") + b"0\r\n\r\n",
    ),
    bad("21 two lengths", head(KNOWN, JSON, "content-length: 2", "content-length: 3") + b"{} "),
    bad(
        "21 the same length twice",
        head(KNOWN, JSON, "content-length: 2", "content-length: 2") + b"{}",
    ),
    *(
        bad(f"21 a length of {length!r}", head(KNOWN, JSON, f"content-length: {length}") + b"{}")
        for length in ("+5", "-1", "0x2", "2,2", "2 2", "9" * 30, "")
    ),
    bad("21 an encoding of another kind", head(KNOWN, JSON, "transfer-encoding: xchunked") + b"{}"),
    *(
        bad(f"21 the encoding {encoding!r}", chunked(EMPTY).replace(b"chunked", encoding.encode()))
        for encoding in (
            "gzip, chunked",
            "gzip,chunked",
            "identity, chunked",
            "x, chunked",
            ", chunked",
            "chunked, chunked",
            "chunked,",
            "chunked;q=1",
            '"chunked"',
            "gzip\r\ntransfer-encoding: chunked",
            "chunked\r\ntransfer-encoding: chunked",
            "chunked\r\ntransfer-encoding: gzip",
        )
    ),
    *(
        bad(
            f"21 chunks in HTTP/{version}",
            head(
                KNOWN,
                JSON,
                "transfer-encoding: chunked",
                *fields,
                line=f"POST {PATH} HTTP/{version}",
            )
            + EMPTY,
        )
        for version in ("1.0", "0.9", "2.0")
        for fields in ((), ("connection: keep-alive",))
    ),
    *(
        bad(
            f"- HTTP/{version} with a length",
            head(KNOWN, JSON, "content-length: 2", line=f"POST {PATH} HTTP/{version}") + b"{}",
        )
        for version in ("0.9", "1.2", "2.0")
    ),
    bad("21 no encoding last", head(KNOWN, JSON, "transfer-encoding: chunked, identity") + b"{}"),
    bad("21 a chunk of no size", chunked(b"x\r\n")),
    bad("21 a chunk without an end", chunked(b"2\r\n{}3\r\n")),
    bad("21 a chunk of a size below zero", chunked(b"-2\r\n{}\r\n")),
    bad("21 a chunk too big for any number", chunked(b"f" * 20 + b"\r\n")),
    bad("22 no host", head(KNOWN, JSON, "content-length: 2", host=None) + b"{}"),
    bad("22 two hosts", post(BODY, "host: other.test")),
    *(
        bad(f"22 the host {host!r}", head(KNOWN, JSON, "content-length: 2", host=host) + b"{}")
        for host in ("a/?x=", "u@a.test", "a b", "", "a:b", "a.test, b.test")
    ),
    bad("22 another server's URL", post(path="http://hooks.test" + PATH)),
    bad("22 a target that is no path", post(path="@google.com")),
    bad("22 a star", head(KNOWN, line="OPTIONS * HTTP/1.1")),
    Case("23 a field of 20 KB", head(KNOWN, f"x: {'a' * 20_000}"), 431, "head_too_big"),
    Case("23 70 fields", head(*(f"x-{n}: 1" for n in range(70))), 431, "head_too_big"),
    Case("23 a path of 3 KB", method("POST", "/" + "a" * 3000), 414, "target_too_long"),
    *(
        Case(f"24 {name}", method(name), 405, "method_not_allowed")
        for name in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    ),
    Case("24 HEAD", method("HEAD"), 405),
    bad("24 CONNECT", head(line="CONNECT hooks.test:443 HTTP/1.1")),
    bad("24 no method at all", head(line=f"BREW {PATH} HTTP/1.1")),
    Case(
        "24 a WebSocket",
        head("connection: upgrade", "upgrade: websocket", line=f"GET {PATH} HTTP/1.1"),
        405,
        "method_not_allowed",
    ),
    *(
        missing(f"25 {path}", path)
        for path in (
            "/docs",
            "/redoc",
            "/openapi.json",
            "/metrics",
            "/webhooks",
            "/webhooks/",
            "/webhooks/../webhooks/train",
            "/webhooks/./train",
            "/webhooks/other",
            "/webhooks/TRAIN",
            "/webhooks/train%00",
            "/.hfhooks/guess",
            "/.env",
        )
    ),
    *(
        Case(f"25 {path}", post(path=path), 200, is_recorded=True)
        for path in (f"/{PATH}", f"{PATH}/", f"{PATH}//", f"{PATH}%2f")
    ),
    other_media("26 text", "content-type: text/plain"),
    other_media("26 a form", "content-type: application/x-www-form-urlencoded"),
    other_media("26 parts", "content-type: multipart/form-data; boundary=x"),
    other_media("26 no media type"),
    Case(
        "26 with a charset",
        head(KNOWN, "content-type: application/json; charset=utf-8", f"content-length: {len(BODY)}")
        + BODY,
        200,
        is_recorded=True,
    ),
    other_media("27 compressed", JSON, "content-encoding: gzip"),
    accepted("28 no event", b"{}"),
    accepted(
        "29 what is not known yet",
        b'{"event":{"scope":"repo.config.dois","action":"archived"},"repo":{"type":"bucket",'
        b'"name":"a/b"},"webhook":{"id":"1","version":4}}',
    ),
    accepted("31 an id of 4 KB", BODY, f"webhook-id: {'a' * 4096}"),
    accepted("31 an id with a line break", BODY, "webhook-id: a%0ab\\n"),
    accepted("31 an empty id", BODY, "webhook-id:"),
    accepted(
        "32 what would steer a terminal", json.dumps({"a": "\x1b]0;x\x07[/red]\u202e"}).encode()
    ),
    bad("- a line break alone", post().replace(b"\r\n", b"\n", 1)),
    bad("- a field that is folded", head(KNOWN, "x: 1\r\n  2", JSON, "content-length: 2") + b"{}"),
    bad("- a space before the colon", head(KNOWN, "x : 1", JSON, "content-length: 2") + b"{}"),
    bad("- a NUL in a field", head(KNOWN, "x: a\0b", JSON, "content-length: 2") + b"{}"),
    bad("- a CR in a field", head(KNOWN, "x: a\rb", JSON, "content-length: 2") + b"{}"),
    bad("- a field without a name", head(KNOWN, ": 1", JSON, "content-length: 2") + b"{}"),
    bad("- HTTP/0.9", f"POST {PATH}\r\n\r\n".encode()),
    bad("- HTTP/3", head(KNOWN, line=f"POST {PATH} HTTP/3.0")),
    bad("- HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    bad("- TLS", bytes.fromhex("16030100c8010000c40303") + bytes(200)),
    bad("- noise", bytes(range(256))),
]


@pytest.fixture
async def port(gateway: Any, registry: Registry, tasks: Tasks) -> AsyncIterator[int]:
    """Where a gateway listens that gives senders little time."""
    app = WebhooksServer(webhook_secret=SECRET)

    @app.add_webhook
    def train(payload: dict[str, Any]) -> str:
        return "trained"

    http = await gateway()
    sock = bind("127.0.0.1", 0)
    listener = Listener(http.gateway.respond, sock, tasks, patience=1, read_within=0.2)
    listening = asyncio.create_task(listener.listen())
    yield sock.getsockname()[1]
    listener.stop()
    await listening
    sock.close()


async def sent(port: int, request: bytes) -> tuple[int, set[str], bytes, bool]:
    """Return status, names of headers, body, and whether the connection stays."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.timeout(10):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines)
            size = 0 if request.startswith(b"HEAD") else int(fields["content-length"])
            body = await reader.readexactly(size)
            stays = fields.get("connection") != "close"
            if not stays:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
    return int(status.split()[1]), set(fields), body, stays


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_what_becomes_of_it(case: Case, port: int, journal: Journal) -> None:
    status, names, body, stays = await sent(port, case.request)
    assert (status, stays) == (case.status, case.stays)
    assert names <= {"date", "content-type", "content-length", "connection", "allow"}
    await settle(journal)
    recorded = await journal.get(1)
    if case.is_recorded:
        assert recorded and recorded.body == case.request.partition(b"\r\n\r\n")[2]
        assert body == b'"trained"'
    else:
        assert recorded is None
        assert body == (b'{"error": "%b"}' % case.word.encode() if case.word else b"")
        assert len(body) <= 64
