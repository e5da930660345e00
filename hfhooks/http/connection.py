"""One connection of a sender: requests in, answers out, in turn and in bounded time."""

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Protocol

from hfhooks.http.ahead import Ahead
from hfhooks.http.limits import Room
from hfhooks.http.messages import Request
from hfhooks.http.parser import END, Event, Other, Parser, State
from hfhooks.http.passage import Passed, Site
from hfhooks.http.turns import TAKE_WITHIN, Answering, Turns
from hfhooks.model.refusal import Refusal

__all__ = ["Connection", "peer_of"]

MAPPED = bytes(10) + b"\xff\xff"
"""How an address of IPv4 begins in IPv6."""
LOOPBACK_4, LOOPBACK_6 = 127, bytes(15) + b"\1"


class Accepting(Answering, Protocol):
    """Who has accepted a connection, as far as that needs to know; see `Listener`."""

    site_for: Callable[[Request], Site | None]
    room: Room

    def admit(self, connection: "Connection") -> bool: ...

    def forget(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """What the transport tells, and the deadline; requests are answered by `Turns`."""

    def __init__(self, listener: Accepting) -> None:
        self.deadline = 0.0
        """When, in the loop's time, it has taken too long to arrive, or to rest."""
        self.began_at = 0.0
        """When what is arriving began to, in the loop's time."""
        self.peer: bytes | None = None
        """Where it comes from, if that is another machine."""
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._parser = Parser()
        self._transport: Any = None
        self.turns: Turns
        self.arrivals: Arrivals
        self._ahead: Ahead

    @property
    def is_resting(self) -> bool:
        """There is no request."""
        return self.turns.is_idle and self._parser.state is State.RESTING

    def leave(self) -> None:
        """Close it, now or when its answer is sent; a stream may have no end."""
        if self.is_resting:
            self._transport.close()
        elif isinstance(self.turns.current, Passed):
            self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()

    def refuse(self, refusal: Refusal) -> None:
        """Refuse what is arriving."""
        self._hear([refusal])

    def read_on(self) -> None:
        """Take on what was sent ahead."""
        turns = self.turns
        turns.go_on()
        if turns.is_idle and not turns.is_choked:
            self.began_at = self._loop.time()
            self._hear(self._parser.feed())
        if not turns.is_choked:
            self._ahead.read_again()

    def allow(self, seconds: float) -> None:
        """Set the deadline: what is awaited may take so many seconds from now on."""
        self.deadline = self._loop.time() + seconds

    def expire(self) -> None:
        """Give up what has not arrived in time."""
        self.deadline = inf
        if self._parser.state in (State.HEAD, State.BODY):
            self.refuse(Refusal(408, "too_slow"))
        elif self._parser.state is State.DEAF or self.is_resting or self.turns.is_choked:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.peer = peer_of(transport.get_extra_info("peername"))
        self._ahead = Ahead(self._parser, transport, self._listener.room, self.read_on)
        self.turns = Turns(self, self._parser, self._transport, self._ahead, self._listener)
        self.arrivals = Arrivals(self.turns, self._parser, self._transport, self._listener)
        self.allow(self._listener.read_within)
        if not self._listener.admit(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        self._parser.become_deaf()
        self._ahead.count()
        self.arrivals.break_off()
        self.turns.end()

    def eof_received(self) -> bool:
        if isinstance(self.turns.current, Passed):
            self.turns.current.end()
            return self.arrivals.switching is not None
        # Who has nothing more to say may still listen to the answer.
        self._parser.become_deaf()
        self.turns.has_ended = True
        self.arrivals.break_off()
        self.turns.go_on()
        return self.turns.current is not None

    def pause_writing(self) -> None:
        self.turns.choke(True)

    def resume_writing(self) -> None:
        self.turns.choke(False)

    def data_received(self, data: bytes) -> None:
        arrivals = self.arrivals
        if arrivals.switching:
            arrivals.switching.take(data)
            return
        if self.is_resting:
            self.began_at = self._loop.time()
            self.deadline = self.began_at + self._listener.read_within
        elif arrivals.current is None and not self.turns.is_idle:
            self._parser.hold(data)  # until what it follows is answered
            self._ahead.count()
            return
        self._hear(self._parser.feed(data))
        if isinstance(arrivals.current, Passed):
            self.allow(TAKE_WITHIN)
        elif arrivals.current is None and self.turns.current and not self.turns.is_choked:
            self.deadline = inf

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            self.arrivals.take(event)
        if self._parser.ahead != self._ahead.counted:
            self._ahead.count()
        self.turns.go_on()


def peer_of(name: object) -> bytes | None:
    """Return what stands for a peer: its address, or of IPv6 the network; None for this machine."""
    match name:
        case (str(host), _):
            packed = inet_pton(AF_INET, host)
        case (str(host), _, _, _):
            packed = inet_pton(AF_INET6, host.partition("%")[0])
        case _:
            return None
    packed = packed.removeprefix(MAPPED)
    if packed == LOOPBACK_6 or (len(packed) == 4 and packed[0] == LOOPBACK_4):
        return None
    return packed[:8]


class Arrivals:
    """Makes of what the parser has found requests that wait for their turns."""

    def __init__(self, turns: Turns, parser: Parser, transport: Any, listener: Accepting) -> None:
        self.current: Request | None = None
        """The one whose body is on its way."""
        self.switching: Passed | None = None
        """The one whose sender has gone on, or wants to, with another protocol than HTTP."""
        self._turns, self._parser, self._transport = turns, parser, transport
        self._listener = listener

    @property
    def holds_part(self) -> bool:
        """A part of a body takes room, and the rest is on its way."""
        return self.current is not None and self.current.is_held

    def take(self, event: Event) -> None:
        """Take what has come."""
        if isinstance(event, bytes):
            if self.current:
                self.current.take(event)
        elif isinstance(event, Request):
            self._begin(event)
        elif event is END:
            if self.current:
                self.current.complete()
            self.current = None
        elif isinstance(event, Refusal):
            self._refuse(event)
        elif isinstance(event, Other):
            self._take_other(event.data)

    def break_off(self) -> None:
        """Refuse the body that is on its way: nothing more comes of it."""
        if self.current:
            self.current.refuse(Refusal(400, "incomplete"))

    def _begin(self, request: Request) -> None:
        if not request.bad_head and (site := self._listener.site_for(request)):
            request = self._passed(request, site)
        request.accept(self._listener.room, self._turns)
        if request.fields.get("expect", "").lower() == "100-continue":
            request.on_wanted = self._continue
        self.current = request
        self._turns.add(request)

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse what is arriving, or else a request of its own; and hear nothing more."""
        self._parser.become_deaf()
        if self.current:
            self.current.refuse(refusal)
            return
        request = Request("", b"", [])
        request.bad_head = refusal
        request.accept(self._listener.room, self._turns)
        self._turns.add(request)

    def _take_other(self, data: bytes) -> None:
        """Take what follows when the sender has gone on with another protocol."""
        if self.switching:
            self.switching.take(data)
        else:
            self._parser.become_deaf()  # what follows is none of our business

    def _passed(self, request: Request, site: Site) -> Request:
        """Return it as it will be passed on to a site."""
        names = [name for name, _ in request.headers]
        is_known = request.fields.get("upgrade", "").lower() == "websocket"
        switches = request.upgrades and is_known and names.count("upgrade") == 1
        passed = Passed(request, site, switches=switches)
        self.switching = passed if switches else None
        return passed

    def _continue(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
