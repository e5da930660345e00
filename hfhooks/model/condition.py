"""Whether a journal records, and if not why."""

from dataclasses import dataclass

from hfhooks.errors import JournalError

__all__ = ["Condition"]


@dataclass(frozen=True)
class Condition:
    """What a journal can do now."""

    state: str = "healthy"
    """`healthy`; `full` or `away`, which pass; `failed`, for good."""
    error: JournalError | None = None
    """Why it is not healthy."""
