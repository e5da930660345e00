"""Which lines of a traceback are the user's own."""

import sysconfig
import traceback
from pathlib import Path

__all__ = ["is_users", "users_traceback"]

LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


def is_users(file: str) -> bool:
    """Tell whether a file holds the user's code: no library, nothing of ours or Python's."""
    libraries = [sysconfig.get_path(name) for name in LIBRARIES]
    ours = str(Path(__file__).parents[1])
    return not file.startswith((*libraries, ours, "<frozen "))


def users_traceback(error: BaseException) -> str:
    """Return the traceback from the user's first frame on; all of it where there is none."""
    trace = error.__traceback__
    while trace is not None and not is_users(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
    return "".join(lines)
