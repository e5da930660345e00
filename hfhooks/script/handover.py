"""`python app.py` serves at the end of the script: the process becomes `hfhooks serve app.py`.

Python lets nothing be started while it ends, so nothing is: another program takes its place.
"""

import atexit
import builtins
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from opcode import opname
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

__all__ = [
    "arguments",
    "calling_file",
    "calling_module",
    "calling_script",
    "cancel",
    "hand_over",
    "hand_over_at_exit",
    "is_being_imported",
    "is_interactive",
]

PACKAGE = __name__.partition(".")[0]
ARGUMENTS = "_HFHOOKS_ARGUMENTS"
"""Variable that holds the script's own arguments, as JSON, for the worker that loads it."""
SERVERS = frozenset({"granian", "gunicorn", "hypercorn", "uvicorn"})
"""Libraries by which a script serves itself."""

log = logging.getLogger(__name__)


def calling_script() -> str | None:
    """Return what `hfhooks serve` would call the script that calls this.

    None where none does: in a notebook or a prompt, with `python -c`, in an imported module.
    """
    caller = _caller()
    if caller is None or caller.f_globals.get("__name__") != "__main__":
        return None
    file, spec = (caller.f_globals.get(name) for name in ("__file__", "__spec__"))
    if file is None or is_interactive():
        return None
    name = spec.name.removesuffix(".__main__") if spec else "__main__"
    return str(file) if name == "__main__" else str(name)


def calling_module() -> str | None:
    """Return the name of the module that calls this, None where none does, and in tests of it."""
    if "PYTEST_CURRENT_TEST" in os.environ:  # to become another program would end all of them
        return None
    caller = _caller()
    spec = caller and caller.f_globals.get("__spec__")
    return spec.name if spec else None


def is_interactive() -> bool:
    """Tell whether somebody enters code bit by bit, in a notebook or at a prompt."""
    return hasattr(builtins, "get_ipython") or hasattr(sys, "ps1")


class _Ending:
    """The end of the main script, at which it is to be served, if it ends well."""

    def __init__(self, script: str) -> None:
        self.is_cancelled = False
        self._script = script
        self._pid = os.getpid()
        self._frame = _main_frame()
        self._codes: list[Any] = []
        """What the script has called `sys.exit` with."""
        leave = sys.exit

        def leave_noting_why(code: Any = None) -> NoReturn:
            self._codes.append(code)
            leave(code)

        sys.exit = leave_noting_why
        atexit.register(self._come)

    def _come(self) -> None:
        has_raised = hasattr(sys, "last_type") or hasattr(sys, "last_exc")
        is_ours = os.getpid() == self._pid and not sys.flags.inspect
        if self.is_cancelled or has_raised or not is_ours or self._serves_itself:
            return
        if self._is_whole or (self._codes and self._codes[-1] in (None, 0)):
            hand_over(self._script)
        elif not self._codes:  # by `raise SystemExit`, of which nobody tells us the code
            log.warning(
                "%s has ended by SystemExit, and is not served. To serve it: hfhooks serve %s",
                self._script,
                self._script,
            )

    @property
    def _is_whole(self) -> bool:
        """The script has come to its last line, and was not left before."""
        if self._frame is None:
            return True
        last = self._frame.f_code.co_code[self._frame.f_lasti]
        return opname[last].startswith("RETURN_")

    @property
    def _serves_itself(self) -> bool:
        names = set(_names(self._frame.f_code)) if self._frame else set()
        return bool(SERVERS & names and {"run", "serve"} & names)


_ending: _Ending | None = None


def hand_over_at_exit() -> None:
    """Serve the script that calls this when it has come to its end, if it is the main one.

    Not if it ends by an exception, Ctrl-C, or `sys.exit` with anything but success, nor if it
    serves itself.
    """
    global _ending
    script = calling_script()  # when Python ends it is not known any more
    if _ending is None and script is not None:
        _ending = _Ending(script)


def cancel() -> None:
    """Do not serve this script at its end: it is served already."""
    if _ending:
        _ending.is_cancelled = True


def hand_over(script: str) -> None:
    """Become `hfhooks serve` of the main script; from here on nothing else of it runs.

    The script finds its own arguments where it is loaded.
    """
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # as for spawn
    command = [sys.executable, *flags, "-P", "-m", PACKAGE, "serve", script]
    environment = {**os.environ, ARGUMENTS: json.dumps(sys.argv[1:])}
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if os.name == "nt":  # where to become another program is to start one and to end
        os._exit(subprocess.call(command, env=environment))
    os.execve(sys.executable, command, environment)  # noqa: S606 # no shell is wanted


def arguments() -> list[str]:
    """Return the arguments of the script that has handed over to us."""
    return [str(argument) for argument in json.loads(os.environ.get(ARGUMENTS, "[]"))]


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


def _main_frame() -> FrameType | None:
    """Return the frame of the main script itself."""
    frame = _caller()
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that code uses, with what is defined in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
