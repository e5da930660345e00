"""An endpoint: a path, the events it wants, and how its handler may be called."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hfhooks.model.events import Filter
from hfhooks.redact import redact

__all__ = ["FILTERS", "MAX_CONCURRENCY", "PREFIX", "RETRIES", "Endpoint", "Published"]

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
    timeout: float | None = None
    """Seconds that a call of the handler may take; None for as long as it likes."""
    takes_json: bool = True
    """False when the handler reads the request itself, so any media type and body will do."""

    @property
    def path(self) -> str:
        return PREFIX + self.name

    def guarded_by(self, secrets: tuple[str, ...]) -> "Endpoint":
        """Return it with these secrets, unless it has its own."""
        return self if self.secrets else replace(self, secrets=secrets)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Endpoint":
        """Return an endpoint that another process has described, and mask its secrets here too."""
        secrets = tuple(row["secrets"])
        if not all(isinstance(secret, str) for secret in secrets):
            raise TypeError("a secret is a text")
        redact.learn(*secrets)
        patterns = {part: tuple(row["filter"][part]) for part in FILTERS}
        changed = {"filter": Filter(**patterns), "secrets": secrets}
        return cls(**{**row, **changed})


@dataclass(frozen=True)
class Published:
    """An endpoint as others may know it: without its secrets, only with whose they are."""

    endpoint: Endpoint
    secrets_of: str
    """`nobody` where it has none, `script`, or `environment` where they are WEBHOOK_SECRET's."""

    @property
    def is_closed(self) -> bool:
        """It has a secret."""
        return self.secrets_of != "nobody"

    @classmethod
    def of(cls, endpoint: Endpoint, environment: tuple[str, ...]) -> "Published":
        """Return it without its secrets; `environment` are those of the environment."""
        whose = "environment" if endpoint.secrets == environment else "script"
        return cls(replace(endpoint, secrets=()), whose if endpoint.secrets else "nobody")

    def with_secrets(self, environment: tuple[str, ...]) -> Endpoint | None:
        """Return it with the secrets it would have now, None where these are not known.

        Those of the environment let senders in to all endpoints that have none of their own.
        """
        is_known = self.secrets_of == "nobody" or (self.secrets_of == "environment" and environment)
        return replace(self.endpoint, secrets=environment) if is_known else None

    def as_json(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint.as_json(), "secrets_of": self.secrets_of}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Published":
        return cls(Endpoint.from_json(row["endpoint"]), row["secrets_of"])
