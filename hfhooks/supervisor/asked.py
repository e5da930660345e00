"""The calls that a worker was asked for, until it answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hfhooks.model.delivery import Claim
from hfhooks.model.ending import CRASHED, INTERRUPTED, LOST, Ending

__all__ = ["Asked", "Call", "how_long"]

MOST_NAMED = 3
"""Handlers that are named of those that ran when a worker died."""


@dataclass(slots=True)
class Call:
    """A call of a handler that is going on."""

    id: int
    endpoint: str
    ended: Callable[[Ending], None]
    is_given_up: bool = False
    """Nobody waits for its outcome any more."""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Such as `train #12`."""
        return f"{self.endpoint} #{self.id}"

    def __str__(self) -> str:
        return f"{self.name}, {how_long(time.monotonic() - self.started)}"


class Asked:
    """Calls by their number on the wire."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._number = 0

    @property
    def calls(self) -> list[Call]:
        """Those whose outcome somebody waits for."""
        return [call for call in self._calls.values() if not call.is_given_up]

    @property
    def given_up(self) -> list[Call]:
        """Those that go on though nobody waits for their outcome."""
        return [call for call in self._calls.values() if call.is_given_up]

    def add(self, claim: Claim, ended: Callable[[Ending], None]) -> int:
        """Note a call; return its number."""
        self._number += 1
        self._calls[self._number] = Call(claim.id, claim.delivery.endpoint, ended)
        return self._number

    def give_up(self, id: int) -> int | None:
        """Note that nobody waits for this delivery's call; return its number, if it goes on."""
        for number, call in self._calls.items():
            if call.id == id and not call.is_given_up:
                call.is_given_up = True
                return number
        return None

    def goes_on(self, number: int) -> bool:
        """Tell whether a call has not ended."""
        return number in self._calls

    def end(self, number: int, ending: Ending) -> None:
        """Note how a call has ended."""
        if call := self._calls.pop(number, None):
            call.ended(ending)

    def end_all(self, why: str | None) -> None:
        """Tell those who wait that the worker has ended, and why; None where that was meant."""
        calls, self._calls = self._calls, {}
        kind = INTERRUPTED if why is None else CRASHED if len(calls) == 1 else LOST
        for call in calls.values():
            call.ended(Ending(kind, body=_reason(why, call, list(calls.values()))))


def _reason(why: str | None, call: Call, all: list[Call]) -> bytes:
    if why is None:
        return b""
    text = f"The worker {why} while this handler ran"
    if others := sorted({each.name for each in all if each is not call}):
        text += f" beside {', '.join(others[:MOST_NAMED])}"
        text += f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        text += "; it runs again in a worker of its own"
    return f"{text}.".encode()


def how_long(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
