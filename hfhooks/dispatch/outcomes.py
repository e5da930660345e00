"""What comes of calls: judged, told to who waits, recorded, and told to everybody."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hfhooks.dispatch.attempts import Running
from hfhooks.dispatch.verdict import attempt_of, judge
from hfhooks.errors import Fault, JournalAway, JournalError, JournalFault, JournalFull
from hfhooks.journal import Journal
from hfhooks.model.delivery import Attempt, Claim, Summary, Verdict
from hfhooks.model.ending import CUT_OFF, LOST, Ending
from hfhooks.model.happenings import Finished, Happening, Note
from hfhooks.model.host import Sender
from hfhooks.tasks import Tasks

__all__ = ["Outcomes", "cut_off"]

ACCEPTED = 202
"""What a sender has got whose handler was not called in time."""


class Outcomes:
    """Makes of an ending what it means; `again_after` says when the journal is tried again.

    `over` returns when no call for a delivery is going on.
    """

    def __init__(
        self,
        journal: Journal,
        tell: Callable[[Happening], None],
        tasks: Tasks,
        over: Callable[[int], Awaitable[None]],
        *,
        again_after: float,
        chance: Callable[[], float],
    ) -> None:
        self.left: set[int] = set()
        """Deliveries that an earlier run has left, and that have had no outcome yet."""
        self._journal, self._tell, self._tasks = journal, tell, tasks
        self._over = over
        self._again_after, self._chance = again_after, chance
        self._received: dict[int, Sender | None] = {}
        """Deliveries that came here and have had no outcome yet, with the senders that wait."""
        self._unwritten: set[tuple[int, int]] = set()
        """Attempts, by delivery and number, whose outcomes are not recorded yet."""
        self._written = asyncio.Event()
        self._is_last_call = False
        """What cannot be recorded now never will."""
        self._amendments: set[asyncio.Task[None]] = set()

    def came(self, id: int, sender: Sender | None) -> None:
        """Note that a delivery has come, with its sender if one waits for the outcome."""
        self._received[id] = sender
        if self._is_last_call and sender:
            sender.waits_in_vain()

    def give_up_waiting(self, running: Container[int] = ()) -> None:
        """Keep no sender waiting but for these deliveries, and no outcome for room."""
        self._is_last_call = True
        for id, sender in self._received.items():
            if sender and id not in running:
                sender.waits_in_vain()

    def cancelled(self, ids: Iterable[int]) -> None:
        """Expect no outcome of these deliveries: they were cancelled while they waited."""
        for id in ids:
            self.left.discard(id)
            if sender := self._received.pop(id, None):
                sender.waits_in_vain()

    async def written(self, within: float = 0.0) -> None:
        """Return when all that is known is recorded, or the journal is away for so many seconds."""
        deadline = asyncio.get_running_loop().time() + within
        while self._unwritten and not self._is_in_vain(deadline):
            self._written.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._again_after):
                    await self._written.wait()
        if self._unwritten:
            number = len(self._unwritten)
            what = f"what came of {'a handler' if number == 1 else f'{number} handlers'}"
            self._tell(Note(f"{what} is not recorded; the next start may run it again."))

    def ended(self, running: Running, ending: Ending) -> None:
        """Make of an ending what it means."""
        try:
            attempt, verdict = self._judged(running, ending)
        except Exception as error:  # noqa: BLE001 # of this delivery alone
            fault = Fault("what becomes of a delivery", error)
            self._tasks.report(fault)
            attempt, verdict = _failed(running, fault)
            if sender := self._received.pop(running.claim.id, None):
                sender.waits_in_vain()
        self._unwritten.add((running.claim.id, running.claim.number))
        self._write(running.claim, attempt, verdict)

    def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        """Record that what a handler left to be done after its answer is done.

        With an error it has failed, and that is told.
        """
        amendment = self._tasks.one("an amendment", self._amend(id, number, error, status))
        self._amendments.add(amendment)
        amendment.add_done_callback(self._amendments.discard)

    async def settle(self) -> None:
        """Return when all of these are recorded, or the journal is away."""
        while self._amendments and not self._is_in_vain(0.0):
            await asyncio.wait(self._amendments, timeout=self._again_after)

    def _is_in_vain(self, deadline: float) -> bool:
        is_late = asyncio.get_running_loop().time() >= deadline
        return is_late and self._journal.condition.state == "away"

    async def _amend(self, id: int, number: int, error: str | None, status: str) -> None:
        await self._over(id)  # the news of it may be faster than the answer
        while (id, number) in self._unwritten:
            self._written.clear()
            await self._written.wait()
        with suppress(JournalError):  # whoever minds its condition does what is to be done
            await self._write_amendment(id, number, error, status)
            if error is not None and (delivery := await self._journal.get(id)):
                for attempt in await self._journal.attempts(id):
                    if attempt.number == number and delivery.status == "failed":
                        self._tell(Finished(id, delivery, attempt, "failed", is_amended=True))

    async def _write_amendment(self, id: int, number: int, error: str | None, status: str) -> None:
        """Write it as soon as the journal takes it."""
        while True:
            try:
                return await self._journal.amend(id, number, error, status)
            except (JournalFull, JournalAway):
                if self._is_last_call:
                    raise
            await asyncio.sleep(self._again_after)

    def _judged(self, running: Running, ending: Ending) -> tuple[Attempt, Verdict]:
        claim, duration = running.claim, running.duration
        verdict = judge(claim, ending, running.endpoint.retries, self._chance())
        if verdict.status != "queued":
            # Before it is on disk: what a sender was told may run again after a crash, not be lost.
            sent_status = self._tell_sender(claim, verdict, ending)
            verdict = Verdict(
                verdict.attempt,
                verdict.status,
                verdict.retry_after,
                verdict.is_pause_asked,
                sent_status,
                ending.pending_after and verdict.status == "succeeded",
            )
        return attempt_of(claim, ending, verdict, running.started_at, duration), verdict

    def _tell_sender(self, claim: Claim, verdict: Verdict, ending: Ending) -> int | None:
        """Return what the sender has got, None where it is not known here."""
        if claim.id not in self._received:
            return None
        sender = self._received.pop(claim.id)
        return sender.told(claim, verdict, ending) if sender else ACCEPTED

    def _write(self, claim: Claim, attempt: Attempt, verdict: Verdict) -> None:
        done = partial(self._done, claim, attempt, verdict)
        try:
            self._journal.finish(claim, attempt, verdict, done)
        except Exception as error:  # noqa: BLE001 # of this delivery alone
            done(JournalFault(error))

    def _done(
        self, claim: Claim, attempt: Attempt, verdict: Verdict, result: bool | JournalError
    ) -> None:
        if isinstance(result, JournalFault) and self._journal.condition.state != "failed":
            self._tasks.report(Fault("recording an outcome", result.error))
            if attempt.error != str(result):  # which can be recorded, whatever that could not
                attempt = replace(attempt, status="raised", answer=b"", error=str(result))
                self._write(claim, attempt, Verdict("raised", "failed"))
                return
        # When we end, the next start finds it as it was, and runs it again.
        if isinstance(result, JournalFull | JournalAway) and not self._is_last_call:
            loop = asyncio.get_running_loop()
            loop.call_later(self._again_after, self._write, claim, attempt, verdict)
            return
        self._unwritten.discard((claim.id, claim.number))
        self._written.set()
        if result is True and verdict.status != "queued":
            self._tell(
                Finished(
                    claim.id,
                    claim.delivery,
                    attempt,
                    verdict.status,
                    verdict.sent_status,
                    verdict.retry_after,
                    is_recovered=claim.id in self.left,
                )
            )
            self.left.discard(claim.id)


def _failed(running: Running, fault: Fault) -> tuple[Attempt, Verdict]:
    """Return what becomes of a delivery of which nothing can be said but a fault of ours."""
    number, started_at = running.claim.number, running.started_at
    attempt = Attempt(number, started_at, running.duration, "raised", 500, error=str(fault))
    return attempt, Verdict("raised", "failed")


def cut_off(outcomes: Outcomes, left: Iterable[Summary]) -> None:
    """Record that an earlier run has not done what these had left to be done, and tell."""
    for each in left:
        outcomes.amend(each.id, each.attempt_count, CUT_OFF[LOST], "interrupted")
