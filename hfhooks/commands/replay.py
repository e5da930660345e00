"""`hfhooks replay`: send recorded payloads to the running server."""

import json
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hfhooks.console import print_answer
from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.events import Filter, event_of, nearest, repo_of
from hfhooks.state import RunningServer, find_server
from hfhooks.wire import DELIVERY_HEADER, MOST_BODY, STATUS_HEADER, TOKEN_HEADER

Payloads = Annotated[
    list[str],
    typer.Argument(
        metavar="PAYLOAD", help="JSON files, - for stdin, or ids of recorded deliveries."
    ),
]
To = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The endpoint; needed when several want the event."),
]
Port = Annotated[int | None, typer.Option(help="The server on this port, when several run.")]


def replay(payloads: Payloads, to: To = None, port: Port = None) -> None:
    """Send payloads to the running server, as the Hub would, and show the handler's answer.

    A recorded delivery goes to its own endpoint, byte for byte as it came. The secret is not
    needed. Exits with 1 if a handler failed.

    \b
    Examples:
      hfhooks replay payload.json
      hfhooks replay 17
      hfhooks replay payload.json --to trigger_training
      curl -s https://example.com/payload.json | hfhooks replay -
    """
    named = [(name, None if _is_id(name) else _read(name)) for name in payloads]
    server = find_server(port)
    requests = [
        _recorded(server, int(name), to) if body is None else _posted(server, body, to)
        for name, body in named
    ]
    statuses = [_send(server, request) for request in requests]
    raise typer.Exit(1 if {"failed", "refused"}.intersection(statuses) else 0)


@dataclass(frozen=True)
class Request:
    """What is sent to the server."""

    path: str
    body: bytes
    headers: dict[str, str]


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and not Path(name).exists()


def _recorded(server: RunningServer, id: int, to: str | None) -> Request:
    """Return a delivery in the server's journal as it came, for another endpoint if told so."""
    from hfhooks.gateway.journal import read_delivery

    delivery = read_delivery(Path(server.journal), id)
    if delivery is None:
        raise HfhooksError(f"no delivery {id} is recorded.")
    return Request(
        _endpoint(server, to or delivery.endpoint), delivery.body, dict(delivery.headers)
    )


def _posted(server: RunningServer, body: bytes, to: str | None) -> Request:
    path = _endpoint(server, to) if to else _choose(server, json.loads(body))
    return Request(path, body, {"content-type": "application/json"})


def _read(name: str) -> bytes:
    """Return a payload's bytes. Raises `UsageError` unless they are one JSON object."""
    body = _bytes_of(name)
    if len(body) > MOST_BODY:
        raise UsageError(f"{name}: larger than {MOST_BODY} bytes, which no server accepts.")
    try:
        payload = json.loads(body.decode())
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: not JSON: {error}.") from error
    if not isinstance(payload, dict):
        raise UsageError(f"{name}: a payload is a JSON object, not a {type(payload).__name__}.")
    return body


def _bytes_of(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(MOST_BODY + 1)
    try:
        # Asked before it is opened: a pipe that nobody writes to would hold us up.
        if not stat.S_ISREG(Path(name).stat().st_mode):
            raise UsageError(f"{name} is not a file.")
        with Path(name).open("rb") as file:
            return file.read(MOST_BODY + 1)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}.") from error


def _endpoint(server: RunningServer, name: str) -> str:
    """Return the path of the endpoint of this name. Raises `UsageError` if there is none."""
    paths = {endpoint["name"]: endpoint["path"] for endpoint in server.endpoints}
    name = name.strip("/").removeprefix("webhooks/")
    if name not in paths:
        raise UsageError(f"no endpoint {name!r}, {nearest(name, paths)}")
    return str(paths[name])


def _choose(server: RunningServer, payload: dict[str, Any]) -> str:
    """Return the path of the endpoint that wants a payload."""
    paths = {endpoint["name"]: endpoint["path"] for endpoint in server.endpoints}
    wanting = [endpoint["name"] for endpoint in server.endpoints if _wants(endpoint, payload)]
    names = wanting or list(paths)
    if len(names) > 1:
        event = f"{event_of(payload) or 'unknown event'} of {repo_of(payload) or 'unknown repo'}"
        how = "several endpoints want" if wanting else "no endpoint wants"
        raise UsageError(f"{how} {event}: {', '.join(names)}.", help=f"Choose one: --to {names[0]}")
    return str(paths[names[0]])


def _wants(endpoint: dict[str, Any], payload: dict[str, Any]) -> bool:
    parts = {part: tuple(endpoint[part]) for part in ("on", "repo", "ref")}
    return Filter(**parts).mismatch(payload) is None


def _send(server: RunningServer, request: Request) -> str:
    """Send one request, show the answer, return the status of the delivery."""
    from http.client import HTTPConnection, HTTPException

    headers = {**request.headers, TOKEN_HEADER: server.token}
    connection = HTTPConnection(server.host, server.port, timeout=server.wait + 30)
    started = time.perf_counter()
    try:
        connection.request("POST", request.path, request.body, headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, HTTPException) as error:
        raise StartError(f"the server on port {server.port} did not answer: {error}") from error
    finally:
        connection.close()
    status = response.headers.get(STATUS_HEADER, "refused")
    print_answer(
        response.status,
        status,
        request.path.removeprefix("/webhooks/"),
        response.headers.get(DELIVERY_HEADER),
        time.perf_counter() - started,
        answer,
    )
    return status
