"""What a gateway and the work host beside it know of each other: who waits for an outcome."""

from typing import Protocol

from hfhooks.model.delivery import Claim, Stored, Verdict
from hfhooks.model.ending import Ending

__all__ = ["Host", "Sender", "Turn"]


class Sender(Protocol):
    """Who has sent a delivery and is kept for the handler's answer."""

    def told(self, claim: Claim, verdict: Verdict, ending: Ending) -> int:
        """Answer with the outcome, if it is in time; return the HTTP status of the answer."""

    def waits_in_vain(self) -> None:
        """Answer without an outcome: there will be none in time."""


class Turn(Protocol):
    """A place for a delivery that is about to be recorded."""

    @property
    def takes(self) -> bool:
        """The host can call its handler at once, so it may be claimed when it is recorded."""

    @property
    def answer_in(self) -> float:
        """In how many seconds its handler is expected to have answered."""

    def arrived(self, stored: Stored | None, sender: Sender | None = None) -> None:
        """Hand over what was recorded, with its sender if one waits; None if nothing was."""


class Host(Protocol):
    """A work host in the process of a gateway."""

    def expect(self, endpoint: str) -> Turn:
        """Keep a turn for a delivery until it has arrived."""
