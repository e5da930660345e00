"""Whether a delivery that came now would be recorded, and whether its handler would be called."""

from dataclasses import dataclass

from hfhooks.gateway.paths import Paths
from hfhooks.journal import Journal

__all__ = ["Health", "health"]

WHY = {
    "away": "the journal is away",
    "full": "the journal is full",
    "failed": "the journal has failed",
}
"""What anybody may hear of a journal that does not record."""
ALL_WAIT = "too many deliveries wait"


@dataclass(frozen=True)
class Health:
    """What is true of a delivery that came now, in this order of the JSON."""

    records: bool
    """It would be recorded."""
    runs: bool
    """Its handler would be called, and what comes of that recorded."""
    why: tuple[str, ...]
    """What keeps it from that; nothing of the inside."""


def health(journal: Journal, paths: Paths, why_idle: str | None) -> Health:
    """Return how it is; `why_idle` says why no handler can be called now."""
    state = journal.condition.state
    kept_from = [*paths.why_closed(), *filter(None, [WHY.get(state)])]
    endpoints = [endpoint.name for endpoint in paths.endpoints]
    if endpoints and all(map(journal.backlog.refusal, endpoints)):
        kept_from.append(ALL_WAIT)
    runs = why_idle is None and state not in ("away", "failed") and not paths.is_stopping
    return Health(not kept_from, runs, (*kept_from, *filter(None, [why_idle])))
