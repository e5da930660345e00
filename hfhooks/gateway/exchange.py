"""One request to an endpoint, from its head to its answer, step by step."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from hfhooks.errors import BacklogFull, Fault, JournalError, JournalFault, JournalFull
from hfhooks.gateway.answers import accepted, for_owner, with_outcome
from hfhooks.gateway.kept import Kept
from hfhooks.gateway.turned_away import TurnedAway
from hfhooks.http.messages import Answer, Request
from hfhooks.journal import Journal
from hfhooks.model.delivery import Claim, Recorded, Stored, Verdict
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Duplicate, Happening, Ignored
from hfhooks.model.headers import ORIGIN_HEADER
from hfhooks.model.host import Host, Turn
from hfhooks.model.receive import receive
from hfhooks.model.refusal import Refusal

__all__ = ["Exchange", "Surroundings"]

ORIGINS = ("replay", "trigger")
"""What an owner may say a delivery comes from."""
UNAVAILABLE = {"retry-after": "60"}


class Surroundings(Protocol):
    """What an exchange needs of its gateway."""

    journal: Journal
    host: Host
    tell: Callable[[Happening], None]
    now: Callable[[], float]
    kept: Kept
    turned_away: TurnedAway

    def refuse(self, request: Request, refusal: Refusal) -> None: ...

    def take_step(self, request: Request, step: Callable[..., None], *args: Any) -> None: ...


def _step(method: Callable[..., None]) -> Callable[..., None]:
    """Answer the sender whatever comes of a step."""

    def step(self: "Exchange", *args: Any) -> None:
        self.gateway.take_step(self.request, method, self, *args)

    return step


class Exchange:
    """Records the delivery that a request is, and answers its sender.

    As the `Sender` that a host knows it may be kept for the handler's own answer.
    """

    __slots__ = (
        "_came_at",
        "_delivery",
        "_endpoint",
        "_is_owner",
        "_mismatch",
        "_sent_status",
        "_stored",
        "_turn",
        "_why",
        "gateway",
        "request",
    )

    def __init__(
        self, gateway: Surroundings, request: Request, endpoint: Endpoint, is_owner: bool
    ) -> None:
        self.gateway, self.request = gateway, request
        self._endpoint, self._is_owner = endpoint, is_owner
        self._came_at: float
        self._delivery: Recorded
        self._mismatch: str | None
        self._turn: Turn
        self._stored: Stored
        self._sent_status: int
        self._why = ""

    @_step
    def record(self) -> None:
        """Have it recorded: its body is there."""
        request, gateway = self.request, self.gateway
        self._came_at = asyncio.get_running_loop().time()
        self._delivery, self._mismatch = receive(
            self._endpoint,
            query=request.query,
            headers=request.headers,
            body=request.body,
            received_at=gateway.now(),
            origin=self._origin,
            most_parts=request.most_parts,
        )
        self._turn = turn = gateway.host.expect(self._delivery.endpoint)
        try:
            gateway.journal.record(self._delivery, self._recorded, turn.takes)
        except BaseException:
            turn.arrived(None)
            raise

    @_step
    def _recorded(self, result: Stored | JournalError) -> None:
        """Hand over what is on disk; keep its sender, or answer at once."""
        if isinstance(result, JournalError):
            self._turn.arrived(None)
            self._turn_away(result)
        self._stored = stored = result
        gateway = self.gateway
        sender = None
        try:
            is_open = stored.status in ("queued", "running")
            if is_open and gateway.kept.may_add(self._turn.answer_in):
                gateway.kept.add(self, self._came_at)
                sender = self
                # The host has the body; who waits for the outcome, however long, needs it no more.
                self.request.forget()
                del self._delivery
        finally:
            self._turn.arrived(stored, sender)
        if not sender:
            self._answer(accepted(stored.id, stored.status), stored.status)
            self._tell_what_it_is()
        if gateway.turned_away:
            gateway.turned_away.end(None, self._endpoint.name)

    def told(self, claim: Claim, verdict: Verdict, ending: Ending) -> int:
        """Answer with the outcome, if it is in time; return the HTTP status of the answer."""
        if not self.request.is_answered:
            if self._is_owner:
                self._why = ending.why
            self._answer_kept(with_outcome(claim.id, verdict, ending), verdict.status)
        return self._sent_status

    @_step
    def waits_in_vain(self) -> None:
        """Answer without an outcome: there will be none in time."""
        if not self.request.is_answered:
            stored = self._stored
            self._answer_kept(accepted(stored.id, stored.status), stored.status)

    def _answer_kept(self, answer: Answer, status: str) -> None:
        self.gateway.kept.remove(self)
        self._sent_status = answer.status
        if self.gateway.journal.condition.state == "failed":
            self.gateway.refuse(self.request, Refusal(503, "unavailable", UNAVAILABLE))
        else:
            self._answer(answer, status)

    def _answer(self, answer: Answer, status: str) -> None:
        if self._is_owner:
            answer = for_owner(answer, self._stored.id, status, self._mismatch or self._why)
        self.request.answer(answer)

    def _tell_what_it_is(self) -> None:
        if self._stored.status == "duplicate":
            self.gateway.tell(Duplicate(self._stored.id, self._delivery))
        elif self._mismatch:
            self.gateway.tell(Ignored(self._stored.id, self._delivery, self._mismatch))

    def _turn_away(self, error: JournalError) -> NoReturn:
        """Raise what becomes of a delivery that cannot be recorded."""
        gateway = self.gateway
        if isinstance(error, JournalFault) and gateway.journal.condition.state != "failed":
            raise Fault("recording a delivery", error.error) from error.error
        if isinstance(error, JournalFull):
            is_one = isinstance(error, BacklogFull)
            gateway.turned_away.begin(str(error), self._endpoint.name if is_one else None)
        raise Refusal(503, "unavailable", UNAVAILABLE) from error

    @property
    def _origin(self) -> str:
        if not self._is_owner:
            return "hub"
        origin = self.request.fields.get(ORIGIN_HEADER, "trigger")
        return origin if origin in ORIGINS else "trigger"
