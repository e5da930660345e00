"""Handlers called as a worker calls them, without a worker."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.script.author import Delivery
from hfhooks.worker.app import direct_handlers
from hfhooks.worker.calls import Calls
from tests.harness import JSON, payload_bytes

PULL = payload_bytes("pr_create_v3_docs")


@dataclass(frozen=True)
class Called:
    """What came of a call."""

    ending: Ending
    late: list[tuple[int, str]]
    """What has failed after the answer, with the delivery's id."""
    done: list[int]
    """Deliveries of which nothing is left to be done any more, and of which something was."""

    @property
    def kind(self) -> str:
        return self.ending.kind

    @property
    def status_code(self) -> int:
        return self.ending.status

    @property
    def retry_after(self) -> float | None:
        return self.ending.retry_after

    @property
    def headers(self) -> dict[str, str]:
        pairs = self.ending.headers
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}

    @property
    def content(self) -> bytes:
        return self.ending.body

    @property
    def text(self) -> str:
        return self.ending.body.decode()

    def json(self) -> Any:
        return json.loads(self.ending.body)


Call = Callable[..., Awaitable[Called]]


async def called(
    app: FastAPI,
    name: str,
    body: bytes = PULL,
    *,
    uses_direct: bool = True,
    headers: Mapping[str, str] | None = None,
    id: int = 1,
    number: int = 1,
    received_at: float = 0.0,
    **values: Any,
) -> Called:
    """Have the handler of this name called, with a query behind it where it has one."""
    endpoint, _, query = name.partition("?")
    sent = tuple((JSON | dict(headers or {})).items())
    delivery = Recorded(endpoint, received_at, query, sent, body, **values)
    endings: list[Ending] = []
    late: list[tuple[int, str]] = []
    done: list[int] = []

    def on_late(delivery: Delivery, error: str | None) -> None:
        if error is None:
            done.append(delivery.id)
        else:
            late.append((delivery.id, error))

    for route in app.router.routes:
        vars(route)["on_late_failure"] = on_late
    call = Calls(direct_handlers(app) if uses_direct else {}, app, on_late)
    await call(Claim(id, delivery, number, ""), None, endings.append)
    [ending] = endings
    return Called(ending, late, done)
