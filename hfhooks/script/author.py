"""What a handler may know of its delivery, and what it may say about it by raising."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

__all__ = ["Delivery", "Discard", "Retry"]


@dataclass(frozen=True)
class Delivery:
    """The delivery that a handler is called for; handlers ask for it by annotation."""

    id: int = 0
    """Its number here, as in `hfhooks replay ID`; 0 where nothing is recorded."""
    webhook_id: str | None = None
    """The Hub's own id, the same on its retries and replays: a key to do a thing only once."""
    attempt: int = 1
    """1 for the first call, one more for each further one."""
    is_replay: bool = False
    """True when a person had it handled again."""
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Retry(Exception):
    """Have the delivery handled again, `after` so many seconds or after the usual pause.

    It counts as one of the endpoint's `retries`. Raises `ValueError` for a time in the past.
    """

    after: float | None = None
    """Seconds; None means the usual pause."""

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        if after is not None and not (math.isfinite(after) and after >= 0):
            raise ValueError(f"Retry(after=...) takes seconds from now on, not {after!r}")
        super().__init__(reason)
        self.after = None if after is None else float(after)


class Discard(Exception):
    """Give the delivery up, whatever retries are left: `raise Discard("why")`."""
