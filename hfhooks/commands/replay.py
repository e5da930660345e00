"""`hfhooks replay`: send recorded payloads to the running server."""

import json
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from hfhooks.console import print_sent
from hfhooks.errors import HfhooksError, UsageError
from hfhooks.sender import Request, choose, endpoint_path, send
from hfhooks.state import RunningServer, find_server
from hfhooks.wire import MOST_BODY, REPLAY_HEADER

REPLAYED = {REPLAY_HEADER: "1"}

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
    has_failed = False
    for request in requests:
        sent = send(server, request)
        print_sent(sent)
        has_failed |= sent.has_failed
    raise typer.Exit(1 if has_failed else 0)


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and not Path(name).exists()


def _recorded(server: RunningServer, id: int, to: str | None) -> Request:
    """Return a delivery in the server's journal as it came, for another endpoint if told so."""
    from hfhooks.gateway.journal import read_delivery

    delivery = read_delivery(Path(server.journal), id)
    if delivery is None:
        raise HfhooksError(f"no delivery {id} is recorded.")
    headers = {**dict(delivery.headers), **REPLAYED}
    return Request(endpoint_path(server, to or delivery.endpoint), delivery.body, headers)


def _posted(server: RunningServer, body: bytes, to: str | None) -> Request:
    path = endpoint_path(server, to) if to else choose(server, json.loads(body))
    return Request(path, body, {"content-type": "application/json", **REPLAYED})


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
