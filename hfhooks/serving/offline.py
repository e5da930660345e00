"""Handlers called without a server: the script is loaded, and called, in a worker of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hfhooks.dispatch.verdict import WHY, judge
from hfhooks.errors import LoadError
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import CRASHED, UNSENDABLE, Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.headers import ORIGIN_HEADER, OWN_HEADERS
from hfhooks.model.sending import Request, Sent, named
from hfhooks.script.target import Target
from hfhooks.supervisor.child import Worker
from hfhooks.supervisor.spawn import Spawned

__all__ = ["OfflineScript", "endpoints_of", "loaded"]

BACKGROUND = 60.0
"""Seconds that background tasks get when all handlers have answered."""
LONGEST_LOAD = 30.0
"""Seconds after which a script is given up whose endpoints are all that is wanted."""


class OfflineScript:
    """A script whose handlers can be called."""

    def __init__(self, worker: Worker, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints
        self._worker = worker

    async def call(self, request: Request, payload: Mapping[str, Any]) -> Sent:
        """Call the handler that a request is for, unless its filter does not match."""
        endpoint = named(self.endpoints, request.endpoint)
        mismatch = endpoint.filter.mismatch(payload)
        if mismatch:
            return Sent(200, "ignored", endpoint.name, None, 0.0, b"", mismatch)
        if self._worker.is_gone:
            gone = b"The worker process died before: this handler was not called."
            return Sent(500, "failed", endpoint.name, None, 0.0, gone)
        claim = Claim(0, _delivery(request), 1, "")
        secret = endpoint.secrets[0] if endpoint.secrets else None
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        self._worker.attempt(claim, secret, ended.set_result)
        ending = await ended
        seconds = time.perf_counter() - started
        # What would be tried again has failed: the first attempt is the only one.
        verdict = judge(claim, ending, retries=0, chance=0.5)
        status = "succeeded" if verdict.status == "succeeded" else "failed"
        body = WHY[CRASHED].encode() if ending.kind == CRASHED else ending.body
        why = ""
        if ending.kind == UNSENDABLE:
            why, body = f"its answer cannot be sent: {ending.why}", b""
        return Sent(ending.status or 500, status, endpoint.name, None, seconds, body, why)


@asynccontextmanager
async def loaded(
    targets: Sequence[Target], patience: float | None = None
) -> AsyncIterator[OfflineScript]:
    """Load scripts in a worker for as long as they are called.

    Raises `LoadError`, also where it takes more than `patience` seconds.
    """
    worker = Worker(Spawned(), amend=_say_nothing, noted=_say_nothing)
    try:
        yield OfflineScript(worker, await _load(worker, targets, patience))
    except BaseException:
        worker.kill()  # whoever gives up does not wait for a handler
        raise
    finally:
        await worker.stop(BACKGROUND)


async def _load(
    worker: Worker, targets: Sequence[Target], patience: float | None
) -> list[Endpoint]:
    try:
        async with asyncio.timeout(patience):
            return await worker.load(targets)
    except TimeoutError:
        raise LoadError(f"{targets[0].label}: still loading after {patience:g} s.") from None


def endpoints_of(targets: Sequence[Target]) -> Sequence[Endpoint]:
    """Return the endpoints of scripts. Raises `LoadError`."""

    async def endpoints() -> Sequence[Endpoint]:
        async with loaded(targets, LONGEST_LOAD) as script:
            return script.endpoints

    return asyncio.run(endpoints())


def _delivery(request: Request) -> Recorded:
    headers = {name.lower(): value for name, value in request.headers.items()}
    kept = [(name, value) for name, value in headers.items() if not name.startswith(OWN_HEADERS)]
    return Recorded(
        endpoint=request.endpoint,
        received_at=time.time(),
        query=request.path.partition("?")[2],
        headers=tuple(kept),
        body=request.body,
        webhook_id=headers.get("webhook-id"),
        origin=headers.get(ORIGIN_HEADER, "replay"),
    )


def _say_nothing(*_: object) -> None:
    """Leave it: what a person should know of the script is no part of its answer."""
