"""The one JSON of a delivery, an attempt, an endpoint, a server: one name and one unit for each."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hfhooks.model.delivery import Attempt, Recorded, Summary
from hfhooks.model.endpoint import Published
from hfhooks.model.exported import MARK, VERSION, Exported
from hfhooks.model.running_server import RunningServer
from hfhooks.model.sending import Sent

__all__ = [
    "attempt",
    "bytes_",
    "content",
    "delivery",
    "endpoint",
    "exported",
    "milliseconds",
    "moment",
    "sent",
    "server",
]


def server(one: RunningServer) -> dict[str, Any]:
    """Return what anybody may know of a server."""
    return {
        "url": one.url,
        "local_url": one.local_url,
        "inspector_url": one.inspector_url,
        "tunnel": one.tunnel,
        "secret": bool(one.endpoints) and all(each.is_closed for each in one.endpoints),
        "endpoints": [endpoint(each, one.url) for each in one.endpoints],
    }


def endpoint(one: Published, base_url: str) -> dict[str, Any]:
    """Return what anybody may know of an endpoint."""
    return {
        "name": one.endpoint.name,
        "path": one.endpoint.path,
        "url": base_url + one.endpoint.path,
        **{part: list(patterns) for part, patterns in vars(one.endpoint.filter).items()},
        "secret": one.is_closed,
    }


def delivery(one: Summary) -> dict[str, Any]:
    """Return a delivery without its content."""
    return {
        "id": one.id,
        "received_at": moment(one.received_at),
        "endpoint": one.endpoint,
        "event": one.event,
        "repo": one.repo,
        "webhook_id": one.webhook_id,
        "origin": one.origin,
        "replay": one.origin == "replay",
        "status": one.status,
        "http_status": one.http_status,
        "sent_status": one.sent_status,
        "attempt_count": one.attempt_count,
        "duration_ms": None if one.duration is None else milliseconds(one.duration),
        "due_at": None if one.due_at is None else moment(one.due_at),
        "pending_after": one.pending_after,
    }


def content(one: Recorded, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return what came, as a file for `replay`, and the attempts at it: the rest of a delivery."""
    return {**exported(Exported.of(one)), "attempts": [attempt(each) for each in attempts]}


def attempt(one: Attempt) -> dict[str, Any]:
    return {
        "number": one.number,
        "started_at": moment(one.started_at),
        "duration_ms": milliseconds(one.duration),
        "status": one.status,
        "http_status": one.http_status,
        "answer": one.answer.decode(errors="replace"),
        "error": one.error,
    }


def sent(one: Sent) -> dict[str, Any]:
    """Return what became of what was sent, with the handler's answer as JSON if it is some."""
    try:
        answer = json.loads(one.body)
        json.dumps(answer, allow_nan=False)  # Python reads NaN, which no JSON may have
    except (ValueError, RecursionError):
        answer = one.body.decode(errors="replace")
    return {
        "id": one.id,
        "endpoint": one.endpoint,
        "status": one.status,
        "http_status": one.http_status,
        "duration_ms": milliseconds(one.seconds),
        "answer": answer,
        **({"why": one.why} if one.why else {}),
    }


def exported(one: Exported) -> dict[str, Any]:
    """Return what came as a file for `replay`."""
    return {
        MARK: VERSION,
        "endpoint": one.endpoint,
        "received_at": None if one.received_at is None else moment(one.received_at),
        "query": one.query,
        "headers": [list(header) for header in one.headers],
        **bytes_("body", one.body),
    }


def bytes_(name: str, body: bytes) -> Mapping[str, str]:
    """Return bytes as text where they are UTF-8, else in base64, which the name says."""
    try:
        return {name: body.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(body).decode()}


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def moment(at: float) -> str | None:
    """Return seconds since 1970 as ISO 8601 has it, in UTC; None for what is no such time."""
    try:
        found = datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
