"""The owner's side of a running server: it is found, and asked, from another process."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.model.headers import DELIVERY_HEADER, STATUS_HEADER, TOKEN_HEADER, WHY_HEADER
from hfhooks.model.running_server import RunningServer
from hfhooks.model.sending import Request, Sent
from hfhooks.private import servers_folder

__all__ = ["change", "find_server", "post", "running_servers", "send"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOOK_EVERY = 0.05
"""Seconds between two looks for a server."""
ALIVE_WITHIN = 2.0
"""Seconds in which a server says that it is one."""
DONE_WITHIN = 60.0
"""Seconds in which it does what it is asked."""


class _Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _NoAnswer(Exception):
    """None that makes sense."""


def find_server(port: int | None = None, wait: float = 0) -> RunningServer:
    """Return the running server, or the one at this port.

    Waits up to `wait` seconds for one to come. Raises `StartError` when there is none,
    `UsageError` when several run and no port chooses.
    """
    deadline = time.monotonic() + wait
    while not (found := list(_running(port))) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    if not found:
        where = f" on port {port}" if port else ""
        raise StartError(f"no server is running{where}.", help="Start one: hfhooks serve SCRIPT.py")
    if len(found) > 1:
        ports = ", ".join(str(server.port) for server in found)
        raise UsageError(f"several servers run, on ports {ports}.", help="Choose one with --port.")
    return found[0]


def running_servers() -> list[RunningServer]:
    """Return all servers of this user that run."""
    return list(_running(None))


def send(server: RunningServer, request: Request) -> Sent:
    """Send a delivery and return what became of it. Raises `StartError` without an answer."""
    started = time.perf_counter()
    response = _asked(
        server, server.local_url, request.path, server.wait + 30, request.body, request.headers
    )
    id = response.headers.get(DELIVERY_HEADER)
    return Sent(
        response.status,
        response.headers.get(STATUS_HEADER, "refused"),
        request.endpoint,
        int(id) if id else None,
        time.perf_counter() - started,
        response.body,
        unquote(response.headers.get(WHY_HEADER, "")),
    )


def change(server: RunningServer, target: str) -> Any:
    """Have a server change what it has recorded, and return what it says. Raises `HfhooksError`."""
    response = _asked(server, server.inspector_url or "", target, DONE_WITHIN, b"", {})
    if response.status != 200:
        raise HfhooksError(f"the server on port {server.port} refused: {response.status}.")
    return json.loads(response.body)


def post(url: str, request: Request, allow_remote: bool = False) -> Sent:
    """Send a request to any URL, as the Hub would, and return what became of it.

    Raises `UsageError` for a URL on another machine unless that is allowed, `StartError` without
    an answer.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no URL, such as http://127.0.0.1:8000/webhooks/train.")
    if not (allow_remote or parts.hostname in LOOPBACK):
        raise UsageError(f"{url} is on another machine.", "If that is meant: --allow-remote")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    started = time.perf_counter()
    try:
        response = _exchanged("POST", url, target, DONE_WITHIN, request.body, request.headers)
    except (_NoAnswer, ValueError) as error:
        raise StartError(f"{url} did not answer: {error}") from error
    status = "succeeded" if response.status < 400 else "failed"
    seconds = time.perf_counter() - started
    return Sent(response.status, status, target, None, seconds, response.body)


def _running(port: int | None) -> Iterator[RunningServer]:
    for file in sorted(servers_folder().glob(f"{port or '*'}-*.json")):
        server = _read(file)
        if server and _answers(server):
            yield server


def _read(file: Path) -> RunningServer | None:
    """Return what a file says, None if it is gone meanwhile, or none of ours."""
    try:
        return RunningServer.from_json(json.loads(file.read_text())) if file.is_file() else None
    except (OSError, LookupError, ValueError, TypeError, RecursionError):
        return None


def _answers(server: RunningServer) -> bool:
    """Ask whoever listens there: after kill -9 the file stays, and another may have the port."""
    own = {TOKEN_HEADER: server.token}
    try:
        response = _exchanged("GET", server.local_url, "/healthz", ALIVE_WITHIN, None, own, 4096)
        content = json.loads(response.body)
    except (_NoAnswer, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("pid") == server.pid


def _asked(
    server: RunningServer,
    base_url: str,
    target: str,
    timeout: float,
    body: bytes,
    headers: Mapping[str, str],
) -> _Response:
    """Ask a server of ours, as its owner. Raises `HfhooksError` without an answer."""
    own = {**headers, TOKEN_HEADER: server.token}
    try:
        return _exchanged("POST", base_url, target, timeout, body, own)
    except ValueError as error:
        raise UsageError(f"that cannot be sent: {error}.") from error
    except _NoAnswer as error:
        raise StartError(f"the server on port {server.port} did not answer: {error}") from error


def _exchanged(
    method: str,
    base_url: str,
    target: str,
    timeout: float,
    body: bytes | None,
    headers: Mapping[str, str],
    most: int | None = None,
) -> _Response:
    """Return a response, of whose body `most` bytes count.

    Raises `_NoAnswer`, and `ValueError` for what HTTP cannot carry.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection, InvalidURL

    parts = urlsplit(base_url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.headers.items()}
        return _Response(response.status, found, response.read(most))
    except InvalidURL as error:
        raise ValueError(str(error)) from error
    except (OSError, HTTPException) as error:
        raise _NoAnswer(str(error) or type(error).__name__) from error
    finally:
        connection.close()
