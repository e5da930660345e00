"""What of an exception is the user's own."""

import os
import sysconfig
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["is_users", "users_frames", "users_text", "users_traceback"]

MOST_FRAMES = 5
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
INSTALLED = tuple(f"{os.sep}{folder}{os.sep}" for folder in ("site-packages", "dist-packages"))
"""Packages may be in other folders than this interpreter's: a user's own, or the system's."""


def is_users(file: str) -> bool:
    """Tell whether a file holds the user's code: no library, nothing of ours or Python's."""
    return not file.startswith(_libraries()) and not any(folder in file for folder in INSTALLED)


@cache
def _libraries() -> tuple[str, ...]:
    folders = [*map(sysconfig.get_path, LIBRARIES), str(Path(__file__).parents[1])]
    return (*(f"{folder}{os.sep}" for folder in folders), "<frozen ")


def users_traceback(error: BaseException) -> str:
    """Return the traceback from the user's first frame on; all of it where there is none."""
    trace = error.__traceback__
    while trace is not None and not is_users(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
    return "".join(lines)


def users_text(error: BaseException, otherwise: str = "") -> str:
    """Return the message of an exception that the user's code has raised."""
    with suppress(Exception):  # it is the user's, and so is its __str__
        return str(error)
    return otherwise


def users_frames(error: BaseException | None) -> list[str]:
    """Return the lines of a traceback that are about the user's own code, if they tell a way."""
    trace = traceback.extract_tb(error.__traceback__ if error else None)
    frames = [frame for frame in trace if is_users(frame.filename)]
    if len(frames) < 2:  # the message has the place
        return []
    return "".join(traceback.format_list(frames[-MOST_FRAMES:])).splitlines()
