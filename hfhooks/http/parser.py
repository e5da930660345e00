"""Bytes become requests: no socket, no clock.

httptools, in C, takes the bytes apart; what is more than it looks at is checked here.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

import httptools

from hfhooks.http.limits import MOST_HEAD, check_head
from hfhooks.http.messages import Request
from hfhooks.model.refusal import Refusal

__all__ = ["END", "Event", "Other", "Parser", "State"]

MOST_UNCHECKED = 2 * MOST_HEAD
"""Bytes of a head that is not complete: its fields, its first line, and what parts them."""


class State(Enum):
    """What comes next."""

    RESTING = auto()
    """A request, some time."""
    HEAD = auto()
    """The rest of a head."""
    BODY = auto()
    """The rest of a body."""
    DEAF = auto()
    """Whatever it is, it is thrown away."""


class End(NamedTuple):
    """A request is complete."""


class Other(NamedTuple):
    """What belongs to another protocol, which its sender goes on with."""

    data: bytes


END = End()
Event: TypeAlias = Request | bytes | End | Other | Refusal
"""A request whose head has come, a part of its body, its end, what is no HTTP any more, or why
nothing of what comes now is understood."""


class Parser:
    """Makes events of bytes; the `on_…` methods are httptools' callbacks."""

    def __init__(self) -> None:
        self.state = State.RESTING
        self._parser = httptools.HttpRequestParser(self)
        self._events: list[Event] = []
        self._unread = 0
        """Bytes that came since a head began, or since the last part of a body."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return what has come with these bytes; after a `Refusal`, nothing more does."""
        if self.state is State.DEAF:
            return ()
        self._events = events = []
        if self.state is not State.RESTING:
            self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            events.append(Other(data[upgrade.args[0] :]))
        except httptools.HttpParserError:
            self._fail("bad_request", 400)
        if self.state is State.HEAD and self._unread > MOST_UNCHECKED:
            self._fail("head_too_big", 431)
        elif self.state is State.BODY and self._unread > MOST_HEAD + len(data):
            self._fail("head_too_big", 431)  # trailers, or what describes chunks
        return events

    def _fail(self, word: str, status: int) -> None:
        self.state = State.DEAF
        self._events.append(Refusal(status, word))

    def on_message_begin(self) -> None:
        self.state, self._unread = State.HEAD, 0
        self._target = b""
        self._headers: list[tuple[str, str]] = []

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.state is State.HEAD:  # a trailer is what nobody needs, and nobody has checked
            text = value.decode("latin-1").strip(" \t")  # RFC 9112, 5; httptools leaves the end
            self._headers.append((name.decode("latin-1").lower(), text))

    def on_headers_complete(self) -> None:
        self.state, self._unread = State.BODY, 0
        parser = self._parser
        method, version = parser.get_method().decode("latin-1"), parser.get_http_version()
        request = Request(method, self._target, self._headers, version)
        request.upgrades = parser.should_upgrade()
        try:
            check_head(version, self._target, request.fields, self._headers)
            if request.upgrades and request.has_body:  # the parser would not read it
                raise Refusal(400, "bad_request")
            request.stays = parser.should_keep_alive() and version == "1.1"
        except Refusal as refusal:
            request.bad_head = refusal
        self._events.append(request)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._events.append(body)

    def on_message_complete(self) -> None:
        self.state = State.RESTING
        self._events.append(END)
