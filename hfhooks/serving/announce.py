"""How the other commands find a running server.

It leaves `servers/<port>-<pid>.json` in the user's state folder, readable by its user alone. The
journal may be elsewhere (`--state-dir`), that file never is.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hfhooks.errors import StartError, UsageError
from hfhooks.model.headers import TOKEN_HEADER
from hfhooks.private import check_private, is_alive, state_folder, write_private

__all__ = ["RunningServer", "announced", "find_server", "running_servers"]


@dataclass(frozen=True)
class RunningServer:
    """What other commands need to know of a server."""

    pid: int
    port: int
    host: str
    url: str
    """Public, or local where there is no tunnel."""
    local_url: str
    inspector_url: str | None
    tunnel: str | None
    is_up: bool
    """False while nothing that is sent to `url` arrives."""
    endpoints: list[dict[str, Any]]
    """As in the `ready` line."""
    wait: float
    """Seconds after which the server answers at the latest."""
    journal: str
    """Path of the file where its deliveries are recorded."""
    token: str = field(repr=False)
    """Proves to the server that a request comes from its user."""

    def described(self) -> dict[str, Any]:
        """Return what anybody may know of it, as in the `ready` line."""
        public = ("url", "local_url", "inspector_url", "tunnel", "endpoints")
        return {name: getattr(self, name) for name in public}


@contextmanager
def announced(server: RunningServer) -> Iterator[Callable[[RunningServer], None]]:
    """Let the other commands find this server for as long as it runs.

    Yields what tells them when something about it has changed.
    """
    folder = state_folder() / "servers"
    check_private(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_the_dead(folder)
    file = folder / f"{server.port}-{server.pid}.json"
    write_private(file, asdict(server))
    try:
        yield lambda changed: write_private(file, asdict(changed))
    finally:
        file.unlink(missing_ok=True)


def _forget_the_dead(folder: Path) -> None:
    """Remove what servers left that were killed."""
    for file in folder.glob("*-*.json"):
        pid = file.stem.rpartition("-")[2]
        if pid.isdecimal() and not is_alive(int(pid)):
            file.unlink(missing_ok=True)


def find_server(port: int | None = None, wait: float = 0) -> RunningServer:
    """Return the running server, or the one at this port.

    Waits up to `wait` seconds for one to come. Raises `StartError` when there is none,
    `UsageError` when several run and no port chooses.
    """
    deadline = time.monotonic() + wait
    while not (found := list(_running(port))) and time.monotonic() < deadline:
        time.sleep(0.05)
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


def _running(port: int | None) -> Iterator[RunningServer]:
    for file in sorted((state_folder() / "servers").glob(f"{port or '*'}-*.json")):
        server = _read(file)
        if server and _answers(server):
            yield server


def _read(file: Path) -> RunningServer | None:
    """Return what a file says, None if it is gone meanwhile, or none of ours."""
    try:
        if not file.is_file():
            return None
        server = RunningServer(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (server.host, server.url, server.local_url, server.journal, server.token)
    is_sound = isinstance(server.port, int) and isinstance(server.endpoints, list)
    return server if is_sound and all(isinstance(text, str) for text in texts) else None


def _answers(server: RunningServer) -> bool:
    """Ask whoever listens there: after kill -9 the file stays, and another may have the port."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(server.host, server.port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={TOKEN_HEADER: server.token})
        content = json.loads(connection.getresponse().read(4096))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(content, dict) and content.get("pid") == server.pid
