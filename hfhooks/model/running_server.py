"""A running server, as other commands find it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from hfhooks.model.endpoint import Published

__all__ = ["RunningServer", "is_loopback"]


@dataclass(frozen=True)
class RunningServer:
    """What is to be known of a server."""

    pid: int
    port: int
    host: str
    """What it listens on."""
    url: str
    """Public, or local where there is no tunnel."""
    local_url: str
    inspector_url: str | None
    tunnel: str | None
    is_up: bool
    """False while nothing that is sent to `url` arrives."""
    endpoints: Sequence[Published]
    wait: float
    """Seconds after which the server answers at the latest."""
    journal: str
    """URL of what its deliveries are recorded in."""
    token: str = field(repr=False)
    """Proves to the server that a request comes from its user."""

    @property
    def is_public(self) -> bool:
        return self.url != self.local_url

    @property
    def is_only_here(self) -> bool:
        """Tell whether no other machine can reach it."""
        return not self.is_public and is_loopback(self.host)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "endpoints": [each.as_json() for each in self.endpoints]}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "RunningServer":
        """Return what another process has written. Raises `LookupError`, `TypeError` or
        `ValueError` for anything else.
        """
        server = cls(**{**row, "endpoints": [Published.from_json(e) for e in row["endpoints"]]})
        texts = (server.host, server.url, server.local_url, server.journal, server.token)
        if not (isinstance(server.port, int) and all(isinstance(text, str) for text in texts)):
            raise TypeError("the server of another hfhooks")
        return server


def is_loopback(host: str) -> bool:
    """Tell whether what listens there is reached from this machine only."""
    from ipaddress import ip_address  # which few need

    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
