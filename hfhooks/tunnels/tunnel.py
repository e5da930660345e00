"""What every way to a public URL has."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from hfhooks.model.happenings import Progress

__all__ = ["Gone", "Moved", "Tell", "Tunnel"]


@dataclass(frozen=True)
class Moved:
    """It should forward from this URL now; it may have been up, down or elsewhere."""

    url: str


@dataclass(frozen=True)
class Gone:
    """It has ended, and must be opened again."""

    why: str


Tell: TypeAlias = Callable[[Progress | Moved | Gone], None]
"""Called in the event loop with what becomes of a tunnel that is being opened or open."""


class Tunnel(Protocol):
    """One way for the internet to reach a URL of this machine."""

    name: str
    """As in `--tunnel`, and in the `ready` line."""
    probe_every: float
    """Seconds between two requests through it that show whether it forwards."""
    must_answer: bool
    """Where nothing comes through when it is opened, it was opened in vain."""

    def open(self, local_url: str, tell: Tell) -> AbstractAsyncContextManager[str]:
        """Open it and return the public URL; leave the context to close it.

        Raises `TunnelError`, which is a `CredentialsError` where trying again is no use.
        """
