"""Deliveries to a running server, sent by its owner: no secret is needed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hfhooks.errors import StartError, UsageError
from hfhooks.model.events import Filter, event_of, nearest, repo_of
from hfhooks.model.exported import Exported
from hfhooks.model.headers import DELIVERY_HEADER, REPLAY_HEADER, STATUS_HEADER, TOKEN_HEADER
from hfhooks.serving.announce import RunningServer

__all__ = [
    "JSON",
    "Endpoints",
    "Request",
    "Sent",
    "choose",
    "endpoint_path",
    "post",
    "replayed",
    "send",
    "verdicts",
    "wants",
]


JSON = {"content-type": "application/json"}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Request:
    """What is sent to an endpoint."""

    path: str
    """With its query."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.path.partition("?")[0].removeprefix("/webhooks/")


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

    @property
    def has_failed(self) -> bool:
        """A handler has raised, also where it is tried again, or nobody was asked."""
        return self.status in ("failed", "refused", "retrying")

    def as_json(self) -> dict[str, Any]:
        """Return it as a program wants it, with the handler's answer as JSON if it is some."""
        try:
            answer = json.loads(self.body)
        except (ValueError, RecursionError):
            answer = self.body.decode(errors="replace")
        return {
            "id": self.id,
            "endpoint": self.endpoint,
            "status": self.status,
            "http_status": self.http_status,
            "duration_ms": round(self.seconds * 1000, 1),
            "answer": answer,
        }


Endpoints: TypeAlias = Sequence[Mapping[str, Any]]
"""As in the `ready` line."""


def endpoint_path(endpoints: Endpoints, name: str) -> str:
    """Return the path of the endpoint of this name. Raises `UsageError` if there is none."""
    paths = {endpoint["name"]: endpoint["path"] for endpoint in endpoints}
    name = name.strip("/").removeprefix("webhooks/")
    if name not in paths:
        raise UsageError(f"no endpoint {name!r}, {nearest(name, paths)}")
    return str(paths[name])


def choose(endpoints: Endpoints, payload: Mapping[str, Any]) -> str:
    """Return the path of the endpoint that wants a payload, or the only one there is.

    Raises `UsageError` where that is not clear.
    """
    paths = {endpoint["name"]: endpoint["path"] for endpoint in endpoints}
    wanting = [endpoint["name"] for endpoint in endpoints if wants(endpoint, payload)]
    names = wanting or list(paths)
    if len(names) > 1:
        event = f"{event_of(payload) or 'unknown event'} of {repo_of(payload) or 'unknown repo'}"
        how = "several endpoints want" if wanting else "no endpoint wants"
        raise UsageError(f"{how} {event}: {', '.join(names)}.", help=f"Choose one: --to {names[0]}")
    return str(paths[names[0]])


def replayed(endpoints: Endpoints, one: Exported, to: str | None = None) -> Request:
    """Return the request that replays a delivery, at its own endpoint unless `to` names another.

    Raises `UsageError` where that is not there, or not clear.
    """
    name = to or one.endpoint
    path = endpoint_path(endpoints, name) if name else choose(endpoints, one.payload)
    target = path + (f"?{one.query}" if one.query else "")
    return Request(target, one.body, {**JSON, **dict(one.headers), REPLAY_HEADER: "1"})


def wants(endpoint: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    """Tell whether an endpoint, as the `ready` line has it, wants a payload."""
    return filter_of(endpoint).mismatch(payload) is None


def verdicts(endpoints: Endpoints, payload: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return for each endpoint the first part of its filter that does not match, None if all do."""
    return [(endpoint["name"], filter_of(endpoint).mismatch(payload)) for endpoint in endpoints]


def filter_of(endpoint: Mapping[str, Any]) -> Filter:
    """Return the filter of an endpoint, as the `ready` line has it."""
    return Filter(**{part: tuple(endpoint[part]) for part in ("on", "repo", "ref")})


def post(url: str, request: Request, allow_remote: bool = False) -> Sent:
    """Send one request to any URL, as the Hub would, and return what became of it.

    Raises `UsageError` for a URL on another machine unless that is allowed, `StartError` without
    an answer.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no URL, such as http://127.0.0.1:8000/webhooks/train.")
    if not (allow_remote or parts.hostname in LOOPBACK):
        raise UsageError(f"{url} is on another machine.", "If that is meant: --allow-remote")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    started = time.perf_counter()
    try:
        connection = kind(parts.hostname, port, timeout=60)
        connection.request("POST", target, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
        connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise StartError(f"{url} did not answer: {error}") from error
    status = "succeeded" if response.status < 400 else "failed"
    return Sent(response.status, status, target, None, time.perf_counter() - started, body)


def send(server: RunningServer, request: Request) -> Sent:
    """Send one request and return what became of it. Raises `StartError` without an answer."""
    from http.client import HTTPConnection, HTTPException

    headers = {**request.headers, TOKEN_HEADER: server.token}
    connection = HTTPConnection(server.host, server.port, timeout=server.wait + 30)
    started = time.perf_counter()
    try:
        connection.request("POST", request.path, request.body, headers)
        response = connection.getresponse()
        body = response.read()
    except ValueError as error:
        raise UsageError(f"that cannot be sent: {error}.") from error
    except (OSError, HTTPException) as error:
        raise StartError(f"the server on port {server.port} did not answer: {error}") from error
    finally:
        connection.close()
    id = response.headers.get(DELIVERY_HEADER)
    return Sent(
        response.status,
        response.headers.get(STATUS_HEADER, "refused"),
        request.endpoint,
        int(id) if id else None,
        time.perf_counter() - started,
        body,
    )
