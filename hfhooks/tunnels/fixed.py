"""A public URL that somebody else keeps: one's own reverse proxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hfhooks.errors import UsageError
from hfhooks.settings import Settings
from hfhooks.tunnels.tunnel import Tell

__all__ = ["Fixed"]


class Fixed:
    name = "fixed"
    probe_every = 60.0
    must_answer = False
    """It may be reached from everywhere but here, or start after us."""

    def __init__(self, settings: Settings) -> None:
        if settings.public_url is None:
            raise UsageError("no public URL.", "Say which: --public-url https://hooks.example.com")
        self._url = settings.public_url

    @asynccontextmanager
    async def open(self, local_url: str, tell: Tell) -> AsyncIterator[str]:
        yield self._url
