"""Whether a worker is alive: it is asked again and again."""

import asyncio
from collections.abc import Callable
from typing import Any

from hfhooks.supervisor.child import Worker

__all__ = ["PING_EVERY", "how_it_ends"]

PING_EVERY = 5.0
"""Seconds between two questions whether the worker is alive."""
MOST_SILENCE = 6
"""Questions in a row without an answer after which it is not."""


async def how_it_ends(
    worker: Worker, ping_every: float, on_worn_out: Callable[[], None] = lambda: None
) -> str:
    """Return how a worker ended, when it has, or after ending it because it hangs.

    `on_worn_out` is called where it can be given nothing more, and ends what it has begun.
    """
    ended = asyncio.ensure_future(worker.ended())
    asking = asyncio.ensure_future(_ask(worker, ping_every))
    worn_out = asyncio.ensure_future(worker.worn_out.wait())
    first: set[asyncio.Future[Any]] = {ended, asking, worn_out}
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not (ended.done() or asking.done()):
            on_worn_out()
            await asyncio.wait({ended, asking}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        asking.result()
        worker.kill(f"did not answer for {MOST_SILENCE * ping_every:g} s")
        return await ended
    finally:
        for each in first:
            each.cancel()


async def _ask(worker: Worker, ping_every: float) -> None:
    """Ask a worker again and again whether it is alive; return when it is not."""
    silence = 0
    while silence < MOST_SILENCE:
        worker.ping()
        await asyncio.sleep(ping_every)
        silence = 0 if worker.is_alive else silence + 1
