"""Handlers called without a server: the script is loaded, and called, in a worker of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hfhooks.dispatch.client import Response, WorkerClient, WorkerGone
from hfhooks.dispatch.verdict import judge
from hfhooks.errors import LoadError
from hfhooks.journal.sqlite.records import Delivery
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.headers import SECRET_HEADER
from hfhooks.serving.sender import Request, Sent
from hfhooks.supervisor.child import Child
from hfhooks.supervisor.spawn import WorkerProcess
from hfhooks.worker.loading import Target

__all__ = ["OfflineScript", "endpoints_of", "loaded"]

BACKGROUND = 60.0
"""Seconds that background tasks get when all handlers have answered."""
LONGEST_LOAD = 30.0
"""Seconds after which a script is given up whose endpoints are all that is wanted."""


class OfflineScript:
    """A script whose handlers can be called."""

    def __init__(self, client: WorkerClient, endpoints: Sequence[Endpoint]) -> None:
        self._client = client
        self._endpoints = {endpoint.path: endpoint for endpoint in endpoints}

    @property
    def described(self) -> list[dict[str, Any]]:
        """The endpoints, as in the `ready` line."""
        return [endpoint.described() for endpoint in self._endpoints.values()]

    async def call(self, request: Request, payload: dict[str, Any]) -> Sent:
        """Call the handler that a request is for, unless its filter does not match."""
        endpoint = self._endpoints[request.path.partition("?")[0]]
        mismatch = endpoint.filter.mismatch(payload)
        if mismatch:
            return Sent(200, "ignored", endpoint.name, None, 0.0, mismatch.encode())
        headers = {**request.headers}
        if endpoint.secrets:
            headers.setdefault(SECRET_HEADER, endpoint.secrets[0])
        started = time.perf_counter()
        try:
            connection = await self._client.connect()
        except WorkerGone:
            gone = b"The worker process died before: this handler was not called."
            return Sent(500, "failed", endpoint.name, None, 0.0, gone)
        try:
            response = await connection.post(request.path, headers.items(), request.body)
        except WorkerGone:
            gone = b"The worker process died while this handler ran."
            return Sent(500, "failed", endpoint.name, None, time.perf_counter() - started, gone)
        seconds = time.perf_counter() - started
        return Sent(response.status, _status(response), endpoint.name, None, seconds, response.body)


@asynccontextmanager
async def loaded(
    targets: Sequence[Target], patience: float | None = None
) -> AsyncIterator[OfflineScript]:
    """Load scripts in a worker for as long as they are called.

    Raises `LoadError`, also where it takes more than `patience` seconds.
    """
    child = Child(WorkerProcess())
    try:
        endpoints = await _load(child, targets, patience)
        yield OfflineScript(child.client, endpoints)
    except BaseException:
        child.kill()  # whoever gives up does not wait for a handler
        raise
    finally:
        await child.stop(BACKGROUND)


async def _load(child: Child, targets: Sequence[Target], patience: float | None) -> list[Endpoint]:
    try:
        async with asyncio.timeout(patience):
            return await child.load(targets)
    except TimeoutError:
        raise LoadError(f"{targets[0].label}: still loading after {patience:g} s.") from None


def endpoints_of(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Return the endpoints of scripts, as in the `ready` line. Raises `LoadError`."""

    async def described() -> list[dict[str, Any]]:
        async with loaded(targets, LONGEST_LOAD) as handlers:
            return handlers.described

    return asyncio.run(described())


def _status(response: Response) -> str:
    """Return what the first attempt alone makes of a delivery."""
    verdict = judge(Delivery("", 0.0, "", (), b""), response, retries=0, chance=0.5)
    return verdict.delivery
