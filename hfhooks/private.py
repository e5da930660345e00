"""Files and folders for this user alone, and the folder where they are kept."""

import json
import os
import shlex
import stat
from pathlib import Path
from typing import Any

import platformdirs

from hfhooks.errors import StartError

__all__ = ["check_private", "is_alive", "servers_folder", "state_folder", "write_private"]


def state_folder() -> Path:
    """Return the folder where this user's state is kept. Raises `StartError` if there is none."""
    try:
        return platformdirs.user_state_path("hfhooks", appauthor=False)
    except RuntimeError as error:  # no home folder
        raise StartError(f"no folder for state: {error}", help="Set HOME.") from error


def servers_folder() -> Path:
    """Return the folder where running servers are found: each leaves `<port>-<pid>.json` there.

    Journals may be elsewhere (`--state-dir`), these files never are.
    """
    return state_folder() / "servers"


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


def write_private(file: Path, content: Any) -> None:
    """Put a file in the place of the one there is, for this user's eyes only."""
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        json.dump(content, stream)
    draft.replace(file)


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
