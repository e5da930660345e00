"""What happens in a server, as a program reads it: a JSON object a line, a public contract."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from hfhooks.console.terminal import Soon, Steady, at_once
from hfhooks.model import views
from hfhooks.model.delivery import Recorded
from hfhooks.model.happenings import (
    Broken,
    Duplicate,
    Finished,
    Happening,
    Ignored,
    Ready,
    Reloaded,
    Stopped,
    TunnelDown,
    TunnelUp,
)

__all__ = ["JsonLines"]


class JsonLines:
    """Prints each happening that programs are told, on stdout; see `Notes`."""

    def __init__(self, soon: Soon = at_once) -> None:
        self._stdout = Steady(sys.stdout, soon)

    def __call__(self, happening: Happening) -> None:
        if line := line_of(happening):
            self._stdout.write_later(json.dumps(line) + "\n")


def line_of(happening: Happening) -> Mapping[str, Any] | None:
    """Return the line that tells it, None where programs are told nothing."""
    match happening:
        case Finished():
            return _finished(happening)
        case Ready(server):
            return {"type": "ready", **views.server(server)}
        case Ignored(id, delivery):
            return _delivery(id, delivery, "ignored", 200, 200)
        case Duplicate(id, delivery):
            return _delivery(id, delivery, "duplicate", 200, 200)
        case Reloaded(seconds, server):
            duration, endpoints = views.milliseconds(seconds), views.server(server)["endpoints"]
            return {"type": "reload", "ok": True, "duration_ms": duration, "endpoints": endpoints}
        case Broken(error):
            place = {"file": getattr(error, "file", None), "line": getattr(error, "line", None)}
            reason = getattr(error, "reason", str(error))
            return {"type": "reload", "ok": False, "error": reason, **place}
        case TunnelUp(server):
            return {"type": "tunnel", "state": "up", "url": server.url}
        case TunnelDown(url):
            return {"type": "tunnel", "state": "down", "url": url}
        case Stopped():
            return {"type": "stopped"}
        case _:
            return None


def _finished(done: Finished) -> Mapping[str, Any]:
    attempt = done.attempt
    http_status = attempt.http_status or 500
    duration = views.milliseconds(attempt.duration)
    line = _delivery(done.id, done.delivery, done.status, http_status, done.sent_status)
    return {**line, "attempt": attempt.number, "duration_ms": duration}


def _delivery(
    id: int, delivery: Recorded, status: str, http_status: int, sent_status: int | None
) -> dict[str, Any]:
    return {
        "type": "delivery",
        "id": id,
        "endpoint": delivery.endpoint,
        "event": delivery.event,
        "repo": delivery.repo,
        "status": status,
        "http_status": http_status,
        "sent_status": sent_status,
        "attempt": 0,
        "duration_ms": None,
        "replay": delivery.origin == "replay",
        "origin": delivery.origin,
    }
