"""The requests of one connection are answered, one after the other."""

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from hfhooks.errors import Fault
from hfhooks.http.ahead import Ahead
from hfhooks.http.limits import HEAR_WITHIN, REST_WITHIN
from hfhooks.http.messages import Answer, Request, encoded
from hfhooks.http.parser import Parser, State
from hfhooks.http.passage import Passed, SiteGone
from hfhooks.model.refusal import Refusal
from hfhooks.tasks import Tasks

__all__ = ["TAKE_WITHIN", "Answering", "Timed", "Turns"]

TAKE_WITHIN = 60.0
"""Seconds in which something must come, or go, of what is passed on."""


class Answering(Protocol):
    """Who answers requests, and in what time; see `Listener`."""

    respond: Callable[[Request], None]
    tasks: Tasks
    read_within: float
    passing: int
    most_passing: int

    def make_way(self) -> bool: ...

    @property
    def is_stopping(self) -> bool: ...


class Timed(Protocol):
    """A connection, as far as it has a deadline; see `Connection`."""

    deadline: float

    def allow(self, seconds: float) -> None: ...


class Turns:
    """Has each request answered in its turn, and sends the answers."""

    def __init__(
        self,
        connection: Timed,
        parser: Parser,
        transport: Any,
        ahead: Ahead,
        listener: Answering,
    ) -> None:
        self.current: Request | None = None
        """The one that is being answered."""
        self.is_choked = False
        """What was sent is not taken, so there is no next answer."""
        self.has_ended = False
        """Nothing comes any more."""
        self._connection, self._parser, self._transport = connection, parser, transport
        self._ahead, self._listener = ahead, listener
        self._next: Request | None = None

    @property
    def is_idle(self) -> bool:
        return self.current is None and self._next is None

    @property
    def is_answering(self) -> bool:
        """A whole request is being answered, as far as its sender takes that."""
        return self.current is not None and self.current.is_whole and not self.is_choked

    def add(self, request: Request) -> None:
        """Let a request have the next turn; the one before is answered."""
        self._next = request

    def go_on(self) -> None:
        """Go on with the request that is being answered, or begin with the next one."""
        request = self.current
        if request:
            self._guarded(request, request.proceed)
        elif self._next and not self.is_choked:
            self.current = request = self._next
            self._next = None
            if request.is_whole:
                self._connection.deadline = inf
            if isinstance(request, Passed):
                self._listener.tasks.one("a connection", self._pass_on(request))
            else:
                self._guarded(request, self._listener.respond, request)

    def answered(self, request: Request, answer: Answer) -> None:
        """Send an answer, and turn to the next request."""
        request.forget()
        self.current = None
        if self._transport.is_closing():
            return
        try:
            stays = self._may_stay(request)
            self._transport.write(encoded(answer, stays, has_body=request.method != "HEAD"))
            self._end_turn(request, stays)
        except Exception as error:  # noqa: BLE001 # of this connection alone
            self._transport.abort()  # or its sender would wait for what does not come
            self.report(Fault("a connection", error))

    def report(self, fault: Fault) -> None:
        """Tell of a fault of ours."""
        self._listener.tasks.report(fault)

    def choke(self, is_choked: bool) -> None:
        """Note whether the sender takes what is sent."""
        self.is_choked = is_choked
        if isinstance(self.current, Passed):
            self.current.hold(is_choked)
            is_over = not is_choked and self.current.is_whole
            self._connection.allow(inf if is_over else TAKE_WITHIN)
        if not is_choked and self.current is None and self._parser.state is not State.DEAF:
            self._rest()

    def end(self) -> None:
        """Forget what waits: the sender is gone."""
        if self._next:
            self._next.forget()
            self._next = None
        if isinstance(self.current, Passed):
            self.current.refuse(Refusal(400, "incomplete"))
        self.go_on()

    def _guarded(self, request: Request, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 # of this request alone
            request.fail(error)

    async def _pass_on(self, request: Passed) -> None:
        try:
            if not await self._is_passed_on(request):
                self._guarded(request, self._listener.respond, request)
        except Exception:
            self._transport.abort()  # as above
            raise

    async def _is_passed_on(self, request: Passed) -> bool:
        """Send what the worker answers; False if it cannot be asked."""
        if self._listener.passing >= self._listener.most_passing and not self._listener.make_way():
            return False
        self._listener.passing += 1
        try:
            stays = await request.pass_on(self._transport)
        except SiteGone:
            return False
        finally:
            self._listener.passing -= 1
        self.current = None
        if not self._transport.is_closing():
            self._end_turn(request, stays and self._may_stay(request))
        return True

    def _may_stay(self, request: Request) -> bool:
        stays = request.stays and request.is_whole and not self._listener.is_stopping
        return stays and self._parser.state is not State.DEAF

    def _end_turn(self, request: Request, stays: bool) -> None:
        """Wait for the next request, or end the connection so that the answer is heard."""
        if stays:
            self._rest()
            return
        comes_more = not request.is_whole or self._parser.state is State.DEAF
        self._parser.become_deaf()
        if self.has_ended or not comes_more:
            self._connection.allow(self._listener.read_within)
            self._transport.close()
        else:
            # To close a connection on which something comes in is to reset it, which may cost the
            # sender the answer.
            seconds = 0.5 if self._listener.is_stopping else HEAR_WITHIN
            self._connection.allow(min(seconds, self._listener.read_within))
            self._transport.write_eof()
            self._ahead.read_again()

    def _rest(self) -> None:
        """Turn to the next request, or wait for one."""
        is_awaited = self._next or self._parser.ahead or self.is_choked
        self._connection.allow(self._listener.read_within if is_awaited else REST_WITHIN)
        if self.is_choked:
            self._transport.pause_reading()
        elif self._next or self._parser.ahead:
            self._ahead.go_on_soon()
        else:
            self._ahead.read_again()
