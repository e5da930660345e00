"""`python app.py` serves at the end of the script: the process becomes `hfhooks serve app.py`.

Python lets nothing be started while it ends, so nothing is: another program takes its place.
"""

import atexit
import builtins
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

__all__ = [
    "calling_file",
    "calling_script",
    "hand_over",
    "hand_over_at_exit",
    "is_being_imported",
    "is_interactive",
]

PACKAGE = __name__.partition(".")[0]
_is_wanted = False
_exit_code: Any = None
"""What the script has called `sys.exit` with."""


def calling_script() -> str | None:
    """Return what `hfhooks serve` would call the script that calls this.

    None where none does: in a notebook or a prompt, with `python -c`, in an imported module.
    """
    caller = _caller()
    if caller is None or caller.f_globals.get("__name__") != "__main__":
        return None
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or is_interactive():
        return None
    spec = getattr(main, "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else str(file)


def is_interactive() -> bool:
    """Tell whether somebody enters code bit by bit, in a notebook or at a prompt."""
    return hasattr(builtins, "get_ipython") or hasattr(sys, "ps1")


def hand_over_at_exit() -> None:
    """Serve the script that calls this when it has come to its end, if it is the main one.

    Not if it ends by an exception, Ctrl-C, or `sys.exit` with anything but success.
    """
    global _is_wanted
    script = calling_script()  # when Python ends it is not known any more
    if _is_wanted or script is None:
        return
    _is_wanted = True
    atexit.register(_hand_over_if_well, script)
    leave = sys.exit

    def leave_noting_why(code: Any = None) -> NoReturn:
        global _exit_code
        _exit_code = code
        leave(code)

    sys.exit = leave_noting_why


def _hand_over_if_well(script: str) -> None:
    has_raised = hasattr(sys, "last_type") or hasattr(sys, "last_exc")
    if not has_raised and _exit_code in (None, 0):
        hand_over(script)


def hand_over(script: str) -> None:
    """Become `hfhooks serve` of the main script; from here on nothing else of it runs."""
    command = [sys.executable, "-P", "-m", PACKAGE, "serve", script]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if os.name == "nt":  # where to become another program is to start one and to end
        os._exit(subprocess.call(command))
    os.execv(sys.executable, command)  # noqa: S606 # no shell is wanted


def calling_file() -> str:
    """Return the absolute path of the file that calls this, of the working folder if none does."""
    caller = _caller()
    file = caller.f_code.co_filename if caller else ""
    return str(Path(file).absolute())


def is_being_imported() -> bool:
    """Tell whether a module calls this while it is imported, as by another one or by pytest."""
    caller = _caller()
    name = caller and caller.f_globals.get("__name__")
    return caller is not None and caller.f_code.co_name == "<module>" and name != "__main__"


def _caller() -> FrameType | None:
    """Return the frame that has called something of ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    return frame
