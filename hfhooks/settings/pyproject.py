"""The pyproject.toml that counts for a script, and whether who could write it may say anything."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfhooks.errors import UsageError

__all__ = ["Pyproject", "nearest_pyproject"]

NAME = "pyproject.toml"
MOST_READ = 1024 * 1024
"""Bytes of a file that is ignored in which our table is looked for."""
MOST_PARSED = 2048
"""Characters of that table: `tomllib` takes seconds for 16 KiB of dots."""
TABLE = re.compile(r"^\[tool\.hfhooks\].*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Pyproject:
    """What a pyproject.toml says of us."""

    path: Path
    table: Mapping[str, Any]
    """Its `[tool.hfhooks]`; of one that is ignored what could be read of it."""
    ignored: str | None = None
    """Why it is ignored, with its owner; None for one that is obeyed."""


def nearest_pyproject(folder: Path, code: Path | None) -> Pyproject | None:
    """Return the pyproject.toml of a folder, or of the nearest one above, None if none says a word.

    The search ends at the first folder that has one or a `.git`, and at the home folder. It is
    obeyed if it belongs to this user, to root, or to the owner of the `code` that is served, which
    can do more than any setting, and if not everybody may write to it. Raises `UsageError` for one
    that is to be obeyed and cannot be read.
    """
    path = _found_from(folder)
    return None if path is None else _read(path, code)


def _found_from(folder: Path) -> Path | None:
    home = None
    with suppress(RuntimeError):  # there is none
        home = Path.home().resolve()
    for each in (folder, *folder.parents):
        # These say no also where we may not look.
        if os.path.isfile(each / NAME):  # noqa: PTH113
            return each / NAME
        if os.path.lexists(each / ".git") or each == home:
            return None
    return None


def _read(path: Path, code: Path | None) -> Pyproject | None:
    try:
        with path.open("rb") as file:
            # The file that is read is looked at, and the link to it, which another may have made.
            ignored = _distrust([os.fstat(file.fileno()), path.lstat()], code)
            content = file.read(MOST_READ if ignored else -1)
    except OSError as error:
        if ignored := _distrust([path.stat(), path.lstat()], code):
            return Pyproject(path, {}, ignored)
        raise UsageError(f"{path}: {error.strerror}.") from error
    if ignored is None:
        return Pyproject(path, _table_in(path, content))
    text = content.decode(errors="replace").replace("\r\n", "\n")
    return Pyproject(path, _table_of_a_stranger(text), ignored) if "hfhooks" in text else None


def _distrust(found: Iterable[os.stat_result], code: Path | None) -> str | None:
    """Return why what was found of a file is not to be trusted."""
    if os.name == "nt":  # where neither is told so
        return None
    script = None
    with suppress(OSError):
        script = code and code.stat()
    trusted = {0, os.geteuid(), *([script.st_uid] if script else [])}
    for each in found:
        if each.st_uid not in trusted:
            others = "you, root or the owner of the script" if script else "you or root"
            return f"it belongs to {_name_of(each.st_uid)}, not to {others}"
    # Where all may write to the script as well, this says nothing: a mount may have no modes.
    is_open = any(_is_open(each) for each in found)
    if is_open and not (script and _is_open(script)):
        return f"everybody may write to it, not only its owner {_name_of(each.st_uid)}"
    return None


def _is_open(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWOTH) and not stat.S_ISLNK(found.st_mode)


def _name_of(uid: int) -> str:
    """Return what a person calls a user."""
    import pwd  # which Windows does not have

    with suppress(KeyError):
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    return f"uid {uid}"


def _table_in(path: Path, content: bytes) -> Mapping[str, Any]:
    """Return our table. Raises `UsageError`."""
    import tomllib  # which most folders do without

    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # tomllib's errors are ValueErrors
        raise UsageError(f"{path}: {error}") from error
    for key in ("tool", "hfhooks"):
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise UsageError(f"{path}: [tool.hfhooks] is no table.")
    return table


def _table_of_a_stranger(text: str) -> Mapping[str, Any]:
    """Return what can be read of our table at little cost, whatever it is."""
    import tomllib

    found = TABLE.search(text)
    with suppress(ValueError, RecursionError):
        if found and len(found[0]) <= MOST_PARSED:
            table: dict[str, Any] = tomllib.loads(found[0])["tool"]["hfhooks"]
            return table
    return {}
