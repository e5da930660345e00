"""An endpoint: a path, the events it wants, and how its handler may be called."""

from dataclasses import asdict, dataclass, field
from typing import Any

from hfhooks.model.events import Filter
from hfhooks.redact import redact

__all__ = ["FILTERS", "MAX_CONCURRENCY", "PREFIX", "RETRIES", "Endpoint"]

PREFIX = "/webhooks/"
FILTERS = ("on", "repo", "ref")
RETRIES = 4
MAX_CONCURRENCY = 16


@dataclass(frozen=True)
class Endpoint:
    """What the gateway must know of an endpoint; the handler itself stays in the worker."""

    name: str
    """The path after `/webhooks/`."""
    filter: Filter = field(default_factory=Filter)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Any of these lets a sender in, the first is the current one; none lets in everybody."""
    retries: int = RETRIES
    """How many more times the handler is called when it raises."""
    max_concurrency: int = MAX_CONCURRENCY
    """How many calls of the handler run at the same time."""
    takes_json: bool = True
    """False when the handler reads the request itself, so any media type and body will do."""

    @property
    def path(self) -> str:
        return PREFIX + self.name

    def described(self) -> dict[str, Any]:
        """Return what anybody may know of it, as in the `ready` line, but for its URL."""
        return {"name": self.name, "path": self.path, **asdict(self.filter)}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Endpoint":
        """Return an endpoint that another process has described, and mask its secrets here too."""
        redact.learn(*row["secrets"])
        patterns = {part: tuple(row["filter"][part]) for part in FILTERS}
        changed = {"filter": Filter(**patterns), "secrets": tuple(row["secrets"])}
        return cls(**{**row, **changed})
