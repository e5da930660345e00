"""What becomes of a delivery after an attempt, and when it is tried again. Pure."""

from hfhooks.model.delivery import MOST_CRASHES, Attempt, Claim, Verdict
from hfhooks.model.ending import (
    ANSWERED,
    CANCELLED,
    CRASHED,
    DISCARDED,
    INTERRUPTED,
    LOST,
    REFUSED,
    RETRY,
    TIMED_OUT,
    UNSENDABLE,
    Ending,
)
from hfhooks.redact import redact

__all__ = ["WHY", "attempt_of", "judge", "pause"]

PAUSES = (5.0, 30.0, 120.0, 600.0)
"""Seconds before the first retry, the second, …; the last one stands for all further ones."""
JITTER = 0.2
"""The part by which a pause is longer or shorter, so that what failed together comes back apart."""
LONGEST_PAUSE = 7 * 24 * 3600.0
WHY = {
    CRASHED: "The worker process died while this handler ran.",
    LOST: "The worker process died while this handler ran, and others did.",
    INTERRUPTED: "The server was stopped, or the script reloaded, while this handler ran.",
    CANCELLED: "The delivery was cancelled by its owner while this handler ran.",
}
"""What is said of an attempt of which nothing more is known."""


def judge(claim: Claim, ending: Ending, retries: int, chance: float) -> Verdict:
    """Return what to make of an attempt; `chance` is a random number in 0 … 1."""
    if ending.kind == INTERRUPTED:
        return Verdict("interrupted", "queued")
    if ending.kind == LOST:
        return Verdict("lost", "queued")
    if ending.kind == CANCELLED:
        return Verdict("cancelled", "cancelled")
    if ending.kind == CRASHED:
        is_last = claim.delivery.crashed + 1 >= MOST_CRASHES
        return Verdict("crashed", "failed" if is_last else "queued")
    if ending.kind == UNSENDABLE or (ending.kind == ANSWERED and ending.status < 400):
        return Verdict("succeeded", "succeeded")
    if ending.kind in (ANSWERED, DISCARDED, REFUSED):
        return Verdict("refused", "failed")
    attempt = "timed_out" if ending.kind == TIMED_OUT else "raised"
    if claim.delivery.raised >= retries:
        return Verdict(attempt, "failed")
    after = ending.retry_after
    if after is None:
        after = pause(claim.delivery.raised, chance)
    return Verdict(attempt, "retrying", min(after, LONGEST_PAUSE), ending.kind == RETRY)


def pause(raised: int, chance: float) -> float:
    """Return the seconds before the next attempt when so many raised before the last one."""
    usual = PAUSES[min(raised, len(PAUSES) - 1)]
    return usual * (1 - JITTER + 2 * JITTER * chance)


def attempt_of(
    claim: Claim, ending: Ending, verdict: Verdict, started_at: float, duration: float
) -> Attempt:
    """Return an attempt that has ended, as it may be recorded and shown."""
    common = (claim.number, started_at, duration, verdict.attempt)
    if ending.kind in WHY:
        return Attempt(*common, error=ending.body.decode() or WHY[ending.kind])
    if ending.kind == ANSWERED:
        return Attempt(*common, ending.status, redact(ending.body))
    return Attempt(*common, ending.status, error=redact(ending.body.decode(errors="replace")))
