"""Bytes become requests: no socket, no clock.

httptools, in C, takes the bytes apart; what is more than it looks at is checked here.
"""

from collections.abc import Callable
from typing import NamedTuple

import httptools

from hfhooks.http.limits import MOST_HEAD, Room, check_head
from hfhooks.http.messages import Request
from hfhooks.model.refusal import Refusal

__all__ = ["Head", "Parser"]

MOST_UNCHECKED = 2 * MOST_HEAD
"""Bytes of a head that is not complete: its fields, its first line, and what parts them."""


class Head(NamedTuple):
    """What is known of a request whose head has come."""

    request: Request
    target: bytes
    """As it came: path and query."""
    version: str
    """Of HTTP."""
    upgrades: bool
    """Its sender wants to go on with another protocol."""


class Parser:
    """Calls `on_request` for each head, and fills the body of the request that it returns.

    What cannot be understood becomes a request with a `bad_head`, and nothing more is parsed. The
    `on_…` methods are httptools' callbacks.
    """

    def __init__(self, room: Room, on_request: Callable[[Head], Request]) -> None:
        self.is_in_head = False
        """A head has begun, and is not complete."""
        self.arriving: Request | None = None
        """The request whose body is on its way."""
        self.is_deaf = False
        """What still comes is thrown away."""
        self._parser = httptools.HttpRequestParser(self)
        self._room = room
        self._on_request = on_request
        self._head_size = 0
        self._unread = 0
        """Bytes that came since the last part of a body, or since its head."""

    def feed(self, data: bytes) -> bytes | None:
        """Take some bytes; return those that belong to another protocol, where that begins."""
        if self.is_deaf:
            return None
        if self.is_in_head:
            self._head_size += len(data)
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self.fail(Refusal(400, "bad_request"))
        if self.is_in_head and self._head_size > MOST_UNCHECKED:
            self.fail(Refusal(431, "head_too_big"))
        elif self.arriving and self._unread > MOST_HEAD + len(data):
            self.fail(Refusal(431, "head_too_big"))  # trailers, or what describes chunks
        return None

    def fail(self, refusal: Refusal) -> None:
        """Take no more, and refuse what is arriving, or else a request of its own."""
        is_known = self.arriving is not None
        self.break_off(refusal)
        self.is_deaf, self.is_in_head = True, False
        if not is_known:
            request = Request("", b"", [], self._room)
            request.bad_head = refusal
            self._on_request(Head(request, b"", "1.1", False))

    def break_off(self, refusal: Refusal) -> None:
        """Refuse the body that is on its way."""
        if self.arriving:
            self.arriving.refuse(refusal)

    def on_message_begin(self) -> None:
        self.is_in_head, self._head_size = True, 0
        self._target = b""
        self._headers: list[tuple[str, str]] = []

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_in_head:  # a trailer is what nobody needs, and nobody has checked
            text = value.decode("latin-1").strip(" \t")  # RFC 9112, 5; httptools leaves the end
            self._headers.append((name.decode("latin-1").lower(), text))

    def on_headers_complete(self) -> None:
        self.is_in_head, self._unread = False, 0
        parser = self._parser
        method, version = parser.get_method().decode("latin-1"), parser.get_http_version()
        upgrades = parser.should_upgrade()
        request = Request(method, self._target, self._headers, self._room)
        try:
            check_head(version, self._target, request.fields, self._headers)
            if upgrades and request.has_body:  # the parser would not read it
                raise Refusal(400, "bad_request")
            request.stays = parser.should_keep_alive() and version == "1.1"
        except Refusal as refusal:
            request.bad_head = refusal
        self.arriving = self._on_request(Head(request, self._target, version, upgrades))

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if self.arriving:
            self.arriving.take(body)

    def on_message_complete(self) -> None:
        if self.arriving:
            self.arriving.complete()
        self.arriving = None
