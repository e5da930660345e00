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

BLANK = b"\r\n\r\n"
"""How a head ends, and a body in chunks."""
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


class _Followed(Exception):
    """Another request begins."""


class Other(NamedTuple):
    """What belongs to another protocol, which its sender goes on with."""

    data: bytes


END = End()
Event: TypeAlias = Request | bytes | End | Other | Refusal
"""A request whose head has come, a part of its body, its end, what is no HTTP any more, or why
nothing of what comes now is understood."""


class Parser:
    """Makes events of bytes, one request at a time; the `on_…` methods are httptools' callbacks."""

    def __init__(self) -> None:
        self.state = State.RESTING
        self.ahead = 0
        """Bytes that are held because something follows a request that is complete."""
        self._parser = httptools.HttpRequestParser(self)
        self._events: list[Event] = []
        self._held, self._at = b"", 0
        """What is held, and how much of it is taken apart."""
        self._last = b""
        """The end of what came before, while that may be a part of how a head ends."""
        self._fields: list[tuple[bytes, bytes]] = []
        """Of a head, or else trailers, which nobody needs and nobody has checked."""
        self._length: int | None = None
        """Bytes of a body that are still to come, where its sender has said how many."""
        self._unread = 0
        """Bytes that came since a request was complete, its head began, or the last part of its
        body came."""

    def feed(self, data: bytes = b"") -> Sequence[Event]:
        """Return what has come with these bytes, up to the end of one request.

        What follows is held for the next time. After a `Refusal`, nothing more comes.
        """
        if self.state is State.DEAF:
            return ()
        events: list[Event] = []
        self._events = events
        if self.ahead:
            if data:
                self.hold(data)
            self._take_held()
        elif self.state is not State.RESTING:
            self._held = data
            self._take_held()
        elif not self._take(data):
            # Nearly always it is one request. It is not: one part after the other.
            self._parser = httptools.HttpRequestParser(self)
            self.state, self._length = State.RESTING, None
            events.clear()
            self._held = data
            self._take_held()
        elif self.state is not State.RESTING:
            self._last = data[-3:]
        return events

    def hold(self, data: bytes) -> None:
        """Keep what comes before the request that it follows is answered."""
        if self.state is not State.DEAF:
            self._held, self._at = self._held[self._at :] + data, 0
            self.ahead = len(self._held)

    def become_deaf(self) -> None:
        """Throw away what is held, and what comes from now on."""
        self.state = State.DEAF
        self._held, self._at, self.ahead = b"", 0, 0

    def _take_held(self) -> None:
        """Make events of what is held, up to the end of one request."""
        events, held = self._events, self._held
        while self._at < len(self._held) and not (events and events[-1] is END):
            part = held[self._at : self._end_of_part()]
            self._at += len(part)
            self._take(part)
        if self._at < len(self._held):
            self.ahead = len(held)
            return
        if self.state is not State.RESTING:
            self._last = (self._last + held[-3:])[-3:]
        self._held, self._at, self.ahead = b"", 0, 0

    def _end_of_part(self) -> int:
        """Return up to where all that is held belongs to one request, as far as can be told."""
        held, at = self._held, self._at
        if self._length is not None:
            return at + self._length
        seam = (self._last + held[:3]).find(BLANK) if at == 0 else -1
        if seam >= 0:
            return seam + len(BLANK) - len(self._last)
        end = held.find(BLANK, at)
        return len(held) if end < 0 else end + len(BLANK)

    def _take(self, part: bytes) -> bool:
        """Make events of these bytes; False if more than one request begins in them."""
        events = self._events
        self._unread += len(part)
        try:
            self._parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            events.append(Other(part[upgrade.args[0] :] + self._held[self._at :]))
            self._held, self._at = b"", 0
        except httptools.HttpParserError:
            if events and events[-1] is END:
                return False
            self._fail("bad_request", 400)
        if self._unread > MOST_HEAD and self._is_too_much(len(part)):
            self._fail("head_too_big", 431)
        return True

    def _is_too_much(self, came: int) -> bool:
        """Tell whether more than may come is no part of a body, with so many bytes just now."""
        if self.state is State.BODY:
            return self._unread > MOST_HEAD + came  # trailers, or what describes chunks
        # Blank lines may come before a head.
        return self.state is not State.DEAF and self._unread > MOST_UNCHECKED

    def _fail(self, word: str, status: int) -> None:
        self.become_deaf()
        self._events.append(Refusal(status, word))

    def on_message_begin(self) -> None:
        if self._events:
            raise _Followed
        self.state, self._unread = State.HEAD, 0
        self._target = b""
        self._fields = []

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.state, self._unread = State.BODY, 0
        parser = self._parser
        method, version = parser.get_method().decode("latin-1"), parser.get_http_version()
        headers = [
            # RFC 9112, 5; httptools leaves the end
            (name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t"))
            for name, value in self._fields
        ]
        self._fields = []
        request = Request(method, self._target, headers, version)
        request.upgrades = parser.should_upgrade()
        try:
            check_head(version, self._target, request.fields, headers)
            if request.upgrades and request.has_body:  # the parser would not read it
                raise Refusal(400, "bad_request")
            request.stays = parser.should_keep_alive() and version == "1.1"
        except Refusal as refusal:
            request.bad_head = refusal
        if "transfer-encoding" not in request.fields:
            self._length = int(request.fields.get("content-length", 0))
        self._events.append(request)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if self._length is not None:
            self._length -= len(body)
        self._events.append(body)

    def on_message_complete(self) -> None:
        self.state, self._length, self._unread = State.RESTING, None, 0
        self._events.append(END)
