"""Where `hfhooks` and `python -m hfhooks` begin."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfhooks.supervisor.spawn import WorkerProcess

__all__ = ["main"]

CTRL_C = 130


def main() -> None:
    """Run the command line and exit with its code."""
    _open_standard_streams()
    try:
        with ExitStack() as stack:
            if sys.argv[1:] and sys.argv[1].endswith(".py"):
                sys.argv.insert(1, "serve")
            worker = _warm_worker(sys.argv[1:], stack)
            _mask_secrets()
            from hfhooks.cli.main import run

            code = run(worker)
    except KeyboardInterrupt:
        code = CTRL_C
    sys.exit(code)


def _open_standard_streams() -> None:
    """Replace those that were closed, or the next file that is opened would get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(number, True)  # the worker, too, has something to print on
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _mask_secrets() -> None:
    """Let no secret out in what libraries and Python itself print."""
    from hfhooks.redact import redact

    for stream in (sys.stdout, sys.stderr):
        redact.guard(stream)


def _warm_worker(arguments: Sequence[str], stack: ExitStack) -> "WorkerProcess | None":
    """Start the worker of `serve` before the command line is even read.

    Importing FastAPI there takes longer than everything else: the two run side by side.
    """
    if arguments[:1] != ["serve"] or {"-h", "--help"}.intersection(arguments):
        return None
    from hfhooks.supervisor.spawn import WorkerProcess

    # Until deliveries are accepted there is nothing to finish, and the worker follows us. An
    # exception would do for Ctrl-C too, but some libraries swallow it while they are imported.
    signal.signal(signal.SIGINT, lambda *_: os._exit(CTRL_C))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    return stack.enter_context(closing(WorkerProcess()))


if __name__ == "__main__":
    main()
