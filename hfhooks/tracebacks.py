"""What of an exception is the user's own."""

import os
import re
import sysconfig
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from hfhooks.redact import redact

__all__ = [
    "MOST_TEXT",
    "bounded",
    "is_users",
    "users_frames",
    "users_lines",
    "users_text",
    "users_traceback",
    "whole_traceback",
]

FRAME = re.compile(r'[ |]*  File "(.+)", line \d+')
"""How a frame of a traceback begins; its code follows, further in."""
CODE = re.compile(r"(?:  [ |]*\| )?    ")
"""How a line of code begins, also in a group of exceptions."""
MOST_FRAMES = 5
MOST_TEXT = 64 * 1024
"""Bytes of what an exception says, on its way and in the journal."""
LOOKED_AT = 256 * 1024
"""Characters at either end of a longer text in which secrets are looked for."""
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
INSTALLED = tuple(f"{os.sep}{folder}{os.sep}" for folder in ("site-packages", "dist-packages"))
"""Packages may be in other folders than this interpreter's: a user's own, or the system's."""


def is_users(file: str) -> bool:
    """Tell whether a file holds the user's code: no library, nothing of ours or Python's."""
    return not file.startswith(_libraries()) and not any(folder in file for folder in INSTALLED)


@cache
def _libraries() -> tuple[str, ...]:
    folders = [*map(sysconfig.get_path, LIBRARIES), str(Path(__file__).parent)]
    return (*(f"{folder}{os.sep}" for folder in folders), "<frozen ")


def users_traceback(error: BaseException) -> str:
    """Return the traceback from the user's first frame on; all of it where there is none."""
    trace = error.__traceback__
    while trace is not None and not is_users(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
    return bounded("".join(lines))


def whole_traceback(error: BaseException) -> list[str]:
    """Return the lines of a traceback, with all frames."""
    return "".join(traceback.format_exception(error)).splitlines()


def users_text(error: BaseException, otherwise: str = "") -> str:
    """Return the message of an exception that the user's code has raised."""
    with suppress(BaseException):  # it is the user's, and so is its __str__
        return bounded(str(error))
    return otherwise


def bounded(text: str) -> str:
    """Return the beginning and the end of a text that is too long."""
    if 4 * len(text) <= MOST_TEXT or len(text) <= MOST_TEXT >= len(_encoded(text)):
        return text
    note = "\n… here a part is left out …\n"
    half = (MOST_TEXT - len(_encoded(note))) // 2
    # Secrets go first: of one that is cut in two, neither half would be known for one.
    head, tail = redact(text[:LOOKED_AT]), redact(text[-LOOKED_AT:])
    parts = _encoded(head)[:half], _encoded(tail)[-half:]
    return note.join(part.decode(errors="ignore") for part in parts)


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def users_frames(error: BaseException | None, are_all_wanted: bool = False) -> list[str]:
    """Return the lines of a traceback that are about the user's own code, if they tell a way."""
    trace = traceback.extract_tb(error.__traceback__ if error else None)
    if are_all_wanted:
        return "".join(traceback.format_list(trace)).splitlines()
    frames = [frame for frame in trace if is_users(frame.filename)]
    if len(frames) < 2:  # the message has the place
        return []
    return "".join(traceback.format_list(frames[-MOST_FRAMES:])).splitlines()


def users_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines of a traceback without the frames of libraries; all if these are all."""
    kept: list[str] = []
    is_hidden, has_users = False, False
    for line in lines:
        if found := FRAME.match(line):
            is_hidden = not is_users(found[1])
            has_users |= not is_hidden
        elif not CODE.match(line):
            is_hidden = False
        if not is_hidden:
            kept.append(line)
    return kept if has_users else list(lines)
