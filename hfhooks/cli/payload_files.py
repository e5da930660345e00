"""Files that hold payloads: one, several, or a delivery that was exported."""

import json
import stat
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfhooks.errors import UsageError
from hfhooks.model.exported import Exported, encoded
from hfhooks.model.headers import MOST_BODY

__all__ = ["read_payloads"]


def read_payloads(name: str) -> list[Exported]:
    """Return what a file holds, `-` for stdin: a payload's bytes stay as they are.

    Several are a JSON array or JSON lines. Raises `UsageError`, with the place, for anything else.
    """
    body = _bytes_of(name)
    if len(body) > MOST_BODY:
        raise UsageError(f"{name}: larger than {MOST_BODY} bytes, which no server accepts.")
    if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):  # as PowerShell writes files
        body = body.decode("utf-16", errors="replace").encode()
    body = body.removeprefix(BOM_UTF8)
    try:
        content = json.loads(body.decode())
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and len(body.splitlines()) > 1:
            return list(_lines(name, body))
        raise _not_json(f"{name}:{error.lineno}:{error.colno}", error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _not_json(name, error) from error
    if not isinstance(content, list):
        return [_one(name, content, body)]
    if not content:
        raise UsageError(f"{name}: an empty array holds no payload.")
    return [
        _one(f"{name}: item {number}", item, encoded(item))
        for number, item in enumerate(content, 1)
    ]


def _lines(name: str, body: bytes) -> Iterator[Exported]:
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            raise _not_json(f"{name}:{number}:{error.colno}", error.msg) from error
        except (ValueError, RecursionError) as error:
            raise _not_json(f"{name}:{number}", error) from error
        yield _one(f"{name}:{number}", content, line)


def _one(place: str, content: Any, body: bytes) -> Exported:
    if not isinstance(content, dict):
        raise UsageError(f"{place}: a payload is a JSON object, not {type(content).__name__}.")
    if not Exported.is_one(content):
        return Exported(None, body)
    try:
        return Exported.from_json(content)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from error


def _not_json(place: str, why: object) -> UsageError:
    return UsageError(f"{place}: not JSON: {why}.")


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
