"""The calls that a worker was asked for, until nothing is left of them to be done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from hfhooks.errors import Fault
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import CRASHED, CUT_OFF, INTERRUPTED, LOST, Ending, failed_by
from hfhooks.worker.frames import Frame, ending_from

__all__ = ["Amend", "Asked", "Call"]

Amend: TypeAlias = Callable[[int, int, str | None, str], None]
"""Hears how ended what an attempt left to be done after its answer; see `Outcomes.amend`."""
MOST_NAMED = 3
"""Handlers that are named of those that ran when a worker died."""


@dataclass(slots=True)
class Call:
    """A call of a handler that is going on."""

    claim: Claim
    ended: Callable[[Ending], None]
    started: float
    is_given_up: bool = False
    """Nobody waits for its outcome any more."""
    is_answered: bool = False
    """It goes on with what it has left to be done after its answer."""

    @property
    def name(self) -> str:
        """Such as `train #12`."""
        return f"{self.claim.delivery.endpoint} #{self.claim.id}"

    def __str__(self) -> str:
        after = ", after its answer" if self.is_answered else ""
        return f"{self.name}, {_how_long(time.monotonic() - self.started)}{after}"


class Asked:
    """Calls by their number on the wire; `amend` hears of what they leave to be done."""

    def __init__(self, amend: Amend) -> None:
        self._amend = amend
        self._calls: dict[int, Call] = {}
        self._number = 0
        self._pending: dict[tuple[int, int], Call] = {}
        """Those that have left something to be done, by delivery and number of the attempt."""

    @property
    def calls(self) -> list[Call]:
        """Those whose outcome somebody waits for."""
        return [call for call in self._calls.values() if not call.is_given_up]

    @property
    def going_on(self) -> list[Call]:
        """These, and those that have left something to be done after their answers."""
        return [*self.calls, *self._pending.values()]

    @property
    def names(self) -> str:
        """Of all whose handlers have not ended, such as `train #12, train #13`."""
        return _named({call.name for call in self._calls.values()})

    @property
    def given_up(self) -> list[Call]:
        """Those that go on though nobody waits for their outcome."""
        return [call for call in self._calls.values() if call.is_given_up]

    def add(self, claim: Claim, ended: Callable[[Ending], None]) -> int:
        """Note a call; return its number."""
        self._number += 1
        self._calls[self._number] = Call(claim, ended, time.monotonic())
        return self._number

    def give_up(self, id: int) -> int | None:
        """Note that nobody waits for this delivery's call; return its number, if it goes on."""
        for number, call in self._calls.items():
            if call.claim.id == id and not call.is_given_up:
                call.is_given_up = True
                return number
        return None

    @property
    def is_in_vain(self) -> bool:
        """All that goes on are calls that were given up."""
        return bool(self.given_up) and not (self.calls or self._pending)

    def goes_on(self, number: int) -> bool:
        """Tell whether a call has not ended."""
        return number in self._calls

    def answered(self, frame: Frame) -> None:
        """Hear how a call ended. Raises `Malformed`."""
        ending = ending_from(frame)
        if call := self._calls.pop(frame.number, None):
            if ending.pending_after:
                call.is_answered = True
                self._pending[call.claim.id, call.claim.number] = call
            call.ended(ending)

    def late(self, said: dict[str, Any]) -> None:
        """Hear of what a call has left to be done. Raises `KeyError`."""
        id, number, error = said["id"], said["attempt"], said["error"]
        if error is not None or (id, number) in self._pending:  # else it has failed before
            self._pending.pop((id, number), None)
            self._amend(id, number, error, "raised")

    def fail(self, number: int, fault: Fault) -> None:
        """Tell that a fault of ours has kept an answer back."""
        if call := self._calls.pop(number, None):
            call.ended(failed_by(fault))

    def end_all(self, why: str | None) -> None:
        """Tell those who wait that the worker has ended, and why; None where that was meant."""
        calls, self._calls = self._calls, {}
        is_alone = len(calls) == 1 and not self._pending
        kind = INTERRUPTED if why is None else CRASHED if is_alone else LOST
        for call in calls.values():
            call.ended(Ending(kind, body=_reason(why, call, list(calls.values()))))

    def cut_off(self, kind: str) -> None:
        """Tell that nothing more comes of what was left to be done, and why."""
        pending, self._pending = self._pending, {}
        for id, number in sorted(pending):
            self._amend(id, number, CUT_OFF[kind], "interrupted")


def _reason(why: str | None, call: Call, all: list[Call]) -> bytes:
    if why is None:
        return b""
    text = f"The worker {why} while this handler ran"
    if others := {each.name for each in all if each is not call}:
        text += f" beside {_named(others)}; it runs again in a worker of its own"
    return f"{text}.".encode()


def _named(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:MOST_NAMED])
    return f"{first} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else first


def _how_long(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
