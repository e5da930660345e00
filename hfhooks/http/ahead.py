"""What a sender has sent without waiting for the answer to what it sent before."""

from collections.abc import Callable
from typing import Any

from hfhooks.http.limits import Room
from hfhooks.http.parser import Parser
from hfhooks.tasks import soon

__all__ = ["Ahead"]


class Ahead:
    """Lets a sender's bytes wait for their turn; no more are read meanwhile.

    `read_on` takes on what waits.
    """

    def __init__(
        self, parser: Parser, transport: Any, room: Room, read_on: Callable[[], None]
    ) -> None:
        self.counted = 0
        """Bytes that take room."""
        self._parser, self._transport, self._room = parser, transport, room
        self._read_on = read_on
        self._is_due = False

    def count(self) -> None:
        """Take room for what waits, or give it back.

        Where there is none it is not heard: a sender may have to send again what it has not
        awaited the answer for (RFC 9112, 9.3.2).
        """
        room, waiting = self._room, self._parser.ahead
        if room.ahead - self.counted + waiting > room.most_ahead:
            self._parser.become_deaf()
            waiting = 0
        room.ahead += waiting - self.counted
        self.counted = waiting
        if waiting:
            self._transport.pause_reading()

    def go_on_soon(self) -> None:
        """Take it on when others have had a turn: there may be thousands of requests."""
        if not self._is_due:
            self._is_due = True
            soon(self._go_on)

    def read_again(self) -> None:
        """Read, unless something waits."""
        transport = self._transport
        if not (self._parser.ahead or transport.is_reading() or transport.is_closing()):
            transport.resume_reading()

    def _go_on(self) -> None:
        self._is_due = False
        if not self._transport.is_closing():
            self._read_on()
