"""What every way to a public URL has."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

__all__ = ["Report", "Tunnel"]


class Report(Protocol):
    """Who is told, in the event loop, what becomes of a tunnel that is being opened or open."""

    def progress(self, text: str) -> None:
        """To open it takes a while, and this is what is being done."""

    def changed(self, url: str) -> None:
        """It may have been up, down or elsewhere; it should forward from this URL now."""

    def gone(self, why: str) -> None:
        """It has ended, and must be opened again."""


class Tunnel(Protocol):
    """One way for the internet to reach a URL of this machine."""

    name: str
    """As in `--tunnel`, and in the `ready` line."""
    probe_every: float
    """Seconds between two requests through it that show whether it forwards."""
    must_answer: bool
    """Where nothing comes through when it is opened, it was opened in vain."""

    def open(self, local_url: str, report: Report) -> AbstractAsyncContextManager[str]:
        """Open it and return the public URL; leave the context to close it.

        Raises `TunnelError`, which is a `CredentialsError` where trying again is no use.
        """
