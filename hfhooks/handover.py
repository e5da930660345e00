"""`python app.py` serves at the end of the script: the process becomes `hfhooks serve app.py`.

Python lets nothing be started while it ends, so nothing is: another program takes its place.
"""

import atexit
import os
import subprocess
import sys
from typing import Any, NoReturn

__all__ = ["hand_over", "hand_over_at_exit", "main_script"]

PACKAGE = __name__.partition(".")[0]
_is_wanted = False
_exit_code: Any = None
"""What the script has called `sys.exit` with."""


def main_script() -> str | None:
    """Return what `hfhooks serve` would call the script that Python was started with.

    None where there is none: in a notebook, in a prompt, with `python -c`.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None:
        return None
    spec = getattr(main, "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else str(file)


def hand_over_at_exit() -> None:
    """Serve the script that calls this when it has come to its end, if it is the main one.

    Not if it ends by an exception, Ctrl-C, or `sys.exit` with anything but success.
    """
    global _is_wanted
    script = main_script()  # when Python ends it is not known any more
    if _is_wanted or script is None or _caller() != "__main__":
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


def _caller() -> str | None:
    """Return the name of the module that has called something of ours."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back  # type: ignore[assignment] # None at the end
    return frame.f_globals.get("__name__") if frame else None
