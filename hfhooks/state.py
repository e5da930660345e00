"""The user's state folder: where journals are, and which servers run.

A running server leaves `servers/<port>-<pid>.json` there, readable by its user alone, by which the
other commands find it. The journal may be elsewhere (`--state-dir`), that file never is.
"""

import json
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from hfhooks.errors import StartError, UsageError
from hfhooks.wire import TOKEN_HEADER

__all__ = [
    "RunningServer",
    "announced",
    "check_private",
    "find_server",
    "is_alive",
    "journal_folder",
    "journals",
    "running_servers",
    "state_folder",
    "write_private",
]


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


def state_folder() -> Path:
    """Return the folder where this user's state is kept. Raises `StartError` if there is none."""
    try:
        return platformdirs.user_state_path("hfhooks", appauthor=False)
    except RuntimeError as error:  # no home folder
        raise StartError(f"no folder for state: {error}", help="Set HOME.") from error


def journal_folder(root: Path, target: str) -> Path:
    """Return the folder of the journal for what is served: one journal for each script."""
    digest = sha256(target.encode()).hexdigest()[:12]
    return root / "journals" / f"{Path(target).stem}-{digest}"


def check_private(folder: Path, *, is_ours: bool = True) -> None:
    """Refuse a folder, if it is there, in which others could put or replace files.

    One that `is_ours` has been made by hfhooks; where others have made it, it may be anybody's.
    Raises `StartError`.
    """
    if os.name == "nt" or not os.path.lexists(folder):
        return
    found = folder.lstat() if is_ours else folder.stat()
    name = shlex.quote(str(folder))
    if stat.S_ISLNK(found.st_mode):
        raise StartError(f"{folder} is a link to somewhere else.", f"Remove it: rm {name}")
    if is_ours and found.st_uid != os.geteuid():
        help = f"Make it yours: sudo chown -R {os.geteuid()} {name}"
        raise StartError(f"{folder} belongs to another user.", help)
    if is_ours and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartError(f"others may write to {folder}.", f"Forbid it: chmod go-w {name}")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise StartError(f"everybody may write to {folder}.", f"Forbid it: chmod o-w {name}")


def journals(root: Path) -> list[Path]:
    """Return the files of all journals in this folder, the one that was used last first."""
    files = (root / "journals").glob("*/journal.db")
    return sorted(files, key=_used_at, reverse=True)


def _used_at(journal: Path) -> float:
    beside = (journal, journal.with_name("journal.db-wal"))
    return max((file.stat().st_mtime for file in beside if file.is_file()), default=0.0)


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


def write_private(file: Path, content: Any) -> None:
    """Put a file in the place of the one there is, for this user's eyes only."""
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        json.dump(content, stream)
    draft.replace(file)


def _forget_the_dead(folder: Path) -> None:
    """Remove what servers left that were killed."""
    for file in folder.glob("*-*.json"):
        pid = file.stem.rpartition("-")[2]
        if pid.isdecimal() and not is_alive(int(pid)):
            file.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Tell whether there may be such a process."""
    if os.name == "nt":  # where asking would end it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


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
