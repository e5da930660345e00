"""What an owner has handled: which endpoint it goes to, as what request, and what became of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hfhooks.errors import UsageError
from hfhooks.model.endpoint import PREFIX, Endpoint
from hfhooks.model.events import event_of, nearest, repo_of
from hfhooks.model.exported import Exported
from hfhooks.model.headers import ORIGIN_HEADER, carried

__all__ = ["JSON", "Endpoints", "Request", "Sent", "choose", "named", "replayed", "verdicts"]

JSON = {"content-type": "application/json"}
Endpoints: TypeAlias = Sequence[Endpoint]


@dataclass(frozen=True)
class Request:
    """What is sent to an endpoint."""

    path: str
    """With its query; a whole URL where it is for another server."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.path.partition("?")[0].removeprefix(PREFIX)


@dataclass(frozen=True)
class Sent:
    """What became of it."""

    http_status: int
    status: str
    """Of the delivery; `refused` where there is none."""
    endpoint: str
    id: int | None
    seconds: float
    body: bytes
    why: str = ""
    """Why that became of it, in one line, where its author's answer does not say it."""

    @property
    def has_failed(self) -> bool:
        """A handler has raised, also where it is tried again, or nobody was asked."""
        return self.status in ("failed", "refused", "retrying")


def named(endpoints: Endpoints, name: str) -> Endpoint:
    """Return the endpoint of this name. Raises `UsageError` if there is none."""
    known = {endpoint.name: endpoint for endpoint in endpoints}
    name = name.strip("/").removeprefix(PREFIX.lstrip("/"))
    if name not in known:
        raise UsageError(f"no endpoint {name!r}, {nearest(name, known)}")
    return known[name]


def choose(endpoints: Endpoints, payload: Mapping[str, Any]) -> Endpoint:
    """Return the endpoint that wants a payload, or the only one there is.

    Raises `UsageError` where that is not clear.
    """
    wanting = [endpoint for endpoint in endpoints if endpoint.filter.mismatch(payload) is None]
    found = wanting or list(endpoints)
    if len(found) != 1:
        event = f"{event_of(payload) or 'unknown event'} of {repo_of(payload) or 'unknown repo'}"
        how = "several endpoints want" if wanting else "no endpoint wants"
        names = ", ".join(endpoint.name for endpoint in found) or "there is none"
        help = f"Choose one: --to {found[0].name}" if found else None
        raise UsageError(f"{how} {event}: {names}.", help)
    return found[0]


def replayed(endpoints: Endpoints, one: Exported, to: str | None = None) -> Request:
    """Return the request that replays a delivery, at its own endpoint unless `to` names another.

    Raises `UsageError` where that is not there, or not clear.
    """
    name = to or one.endpoint
    path = (named(endpoints, name) if name else choose(endpoints, one.payload)).path
    target = path + (f"?{one.query}" if one.query else "")
    return Request(target, one.body, {**JSON, **carried(one.headers), ORIGIN_HEADER: "replay"})


def verdicts(
    endpoints: Iterable[Endpoint], payload: Mapping[str, Any]
) -> list[tuple[str, str | None]]:
    """Return for each endpoint the first part of its filter that does not match, None if all do."""
    return [(endpoint.name, endpoint.filter.mismatch(payload)) for endpoint in endpoints]
