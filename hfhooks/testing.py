"""For tests of one's own: realistic payloads, and handlers called as a server calls them.

A test of the handler `train` in `app.py`:

    from hfhooks.testing import deliver, sample

    import app

    def test_a_push_starts_the_training():
        result = deliver(app.train, sample("repo.content:update", "dataset:me/data"))
        assert (result.status, result.answer) == ("succeeded", {"training": "me/data"})
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Thread
from types import ModuleType
from typing import Any

from hfhooks.dispatch.verdict import judge
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import ANSWERED, Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.exported import Exported
from hfhooks.model.samples import sample
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Registration, Registry, current_registry
from hfhooks.tasks import run
from hfhooks.worker.app import build, direct_handlers
from hfhooks.worker.calls import Calls
from hfhooks.worker.site import WithState, entered

__all__ = ["Result", "deliver", "sample"]

BACKGROUND = 60.0
"""Seconds that background tasks get after the answer."""


@dataclass(frozen=True)
class Result:
    """What became of a delivery."""

    status: str
    """`succeeded`, `failed`, `retrying` or `ignored`."""
    http_status: int | None = None
    """Of the handler's own answer, None where it gave none."""
    answer: Any = None
    """Decoded where it is JSON, else a text."""
    error: str | None = None
    """The traceback of what the handler raised, or why its filter or model refused the payload."""
    retry_after: float | None = None
    """Seconds until the next attempt, where there would be one."""


def deliver(
    target: Callable[..., Any] | ModuleType,
    payload: Mapping[str, Any] | bytes,
    *,
    to: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """Call a handler as a server would, in this process, and return what became of it.

    `target` is a decorated function, or a module with endpoints, of which `to` names one where it
    has several. Filters count, parameters are filled as always, and secrets are not asked for.
    Raises `LookupError` where no endpoint, or more than one, is meant.
    """
    registration = _meant(target, to)
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    mismatch = registration.endpoint.filter.mismatch(Exported(None, body).payload)
    if mismatch:
        return Result("ignored", error=mismatch)
    results: list[Result | BaseException] = []

    def work() -> None:
        try:
            results.append(run(_attempt(registration, body, dict(headers or {}))))
        except BaseException as error:  # noqa: BLE001 # it is raised where it is waited for
            results.append(error)

    thread = Thread(target=work)  # there may be an event loop here already
    thread.start()
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


async def _attempt(registration: Registration, body: bytes, headers: dict[str, str]) -> Result:
    registry = Registry(is_served=True)
    registry.servers = current_registry().servers[-1:]
    registry.add(registration)
    late: list[str] = []

    def on_late(delivery: Delivery, error: str | None) -> None:
        if error:
            late.append(error)

    app, (endpoint,) = build(registry, on_late)
    given = {name.lower(): value for name, value in headers.items()}
    sent = {"content-type": "application/json", **given}
    delivery = Recorded(
        endpoint.name,
        received_at=time.time(),
        query="",
        headers=tuple(sent.items()),
        body=body,
        webhook_id=sent.get("webhook-id"),
    )
    claim = Claim(0, delivery, 1, "")
    secret = endpoint.secrets[0] if endpoint.secrets else None
    ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
    async with entered(app) as state:
        call = Calls(direct_handlers(app), WithState(app, state), on_late)
        calling = asyncio.ensure_future(call(claim, secret, ended.set_result))
        first: set[asyncio.Future[Any]] = {calling, ended}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            calling.result()
        await asyncio.wait({calling}, timeout=BACKGROUND)
    result = _result(claim, ended.result(), endpoint)
    return replace(result, status="failed", error=late[0]) if late else result


def _result(claim: Claim, ending: Ending, endpoint: Endpoint) -> Result:
    verdict = judge(claim, ending, endpoint.retries, chance=0.5)
    text = ending.body.decode(errors="replace")
    if ending.kind != ANSWERED:
        return Result(verdict.status, error=text, retry_after=verdict.retry_after)
    try:
        answer = json.loads(text)
    except ValueError:
        answer = text
    return Result(verdict.status, ending.status, answer)


def _meant(target: Callable[..., Any] | ModuleType, to: str | None) -> Registration:
    known = list(current_registry().registrations.values())
    if isinstance(target, ModuleType):
        known = [each for each in known if _module_of(each) == target.__name__]
    else:
        known = [each for each in known if each.handler is target]
    if to is not None:
        name = to.strip("/").removeprefix("webhooks/")
        known = [each for each in known if each.endpoint.name == name]
    if len(known) == 1:
        return known[0]
    names = ", ".join(each.endpoint.name for each in known)
    what = f"several endpoints are meant: {names}. Choose one: to=..." if known else "no endpoint"
    raise LookupError(f"{target!r}: {what}")


def _module_of(registration: Registration) -> str | None:
    return getattr(registration.handler, "__module__", None)
