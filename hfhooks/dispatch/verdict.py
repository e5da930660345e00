"""What becomes of a delivery after an attempt, and when it is tried again. Pure."""

from dataclasses import dataclass

from hfhooks.dispatch.client import Response
from hfhooks.journal.sqlite.records import Delivery
from hfhooks.model.headers import RAISED, RETRY

__all__ = ["MOST_CRASHES", "Verdict", "judge", "pause"]

PAUSES = (5.0, 30.0, 120.0, 600.0)
"""Seconds before the first retry, the second, …; the last one stands for all further ones."""
JITTER = 0.2
"""The part by which a pause is longer or shorter, so that what failed together comes back apart."""
LONGEST_PAUSE = 7 * 24 * 3600.0
MOST_CRASHES = 3
"""A delivery whose handler ends its process this often is given up."""


@dataclass(frozen=True)
class Verdict:
    """What an attempt makes of itself and of its delivery."""

    attempt: str
    """`succeeded`, `failed` or `crashed`."""
    delivery: str
    """`succeeded`, `failed`, `retrying`, or `queued` after a crash."""
    retry_after: float | None = None
    """Seconds; None unless it is retrying."""


def judge(delivery: Delivery, response: Response | None, retries: int, chance: float) -> Verdict:
    """Return what to make of an attempt that got this response, None if the worker died.

    The delivery is as it was before the attempt; `chance` is a random number in 0 … 1.
    """
    if response is None:
        is_last = delivery.crashes + 1 >= MOST_CRASHES
        return Verdict("crashed", "failed" if is_last else "queued")
    if response.outcome is None and response.status < 400:
        return Verdict("succeeded", "succeeded")
    if response.outcome not in (RAISED, RETRY) or delivery.failures >= retries:
        return Verdict("failed", "failed")
    after = response.retry_after
    if after is None:
        after = pause(delivery.failures, chance)
    return Verdict("failed", "retrying", min(after, LONGEST_PAUSE))


def pause(failures: int, chance: float) -> float:
    """Return the seconds before the next attempt when so many failed before the last one."""
    usual = PAUSES[min(failures, len(PAUSES) - 1)]
    return usual * (1 - JITTER + 2 * JITTER * chance)
