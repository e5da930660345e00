"""Where `hfhooks` and `python -m hfhooks` begin."""

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from hfhooks.supervisor.spawn import Spawned

__all__ = ["main"]

CTRL_C = 130


def main() -> None:
    """Run the command line and exit with its code."""
    _open_standard_streams()
    gc.set_threshold(50_000, 20, 20)  # what is imported stays: nothing is to be looked for in it
    try:
        with ExitStack() as stack:
            if sys.argv[1:] and sys.argv[1].endswith(".py"):
                sys.argv.insert(1, "serve")
            worker = _warm_worker(sys.argv[1:], stack)
            if worker:
                _print_in_threads()
            _mask_secrets()
            from hfhooks.cli.main import run

            code = run(worker)
    except KeyboardInterrupt:
        code = CTRL_C
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End with this exit code, also where a call goes on in a thread, as to a host that is silent.

    To end as usual would take from it what it works with: where that is OpenSSL, it crashes.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):  # what the first has not taken the second says
            with suppress(OSError, ValueError):  # nobody is there to hear it
                getattr(stream, "finish", stream.flush)()
        os._exit(code)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Replace those that were closed, or the next file that is opened would get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(number, True)  # the worker, too, has something to print on
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _print_in_threads() -> None:
    """Keep a server from waiting for who reads what it, or Python for it, prints."""
    from hfhooks.console.queued import QueuedStream

    sys.stderr = notes = QueuedStream(sys.stderr)
    sys.stdout = QueuedStream(sys.stdout, data="stdout", notes=notes)


def _mask_secrets() -> None:
    """Mask secrets in what libraries and Python itself print."""
    from hfhooks.redact import redact

    for stream in (sys.stdout, sys.stderr):
        redact.guard(stream)


def _warm_worker(arguments: Sequence[str], stack: ExitStack) -> "Spawned | None":
    """Start the worker of `serve` before the command line is even read.

    Importing FastAPI there takes longer than everything else: the two run side by side.
    """
    if arguments[:1] != ["serve"] or {"-h", "--help"}.intersection(arguments):
        return None
    from hfhooks.supervisor.spawn import Spawned

    # Until deliveries are accepted there is nothing to finish, and the worker follows us. An
    # exception would do for Ctrl-C too, but some libraries swallow it while they are imported.
    signal.signal(signal.SIGINT, lambda *_: os._exit(CTRL_C))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    return stack.enter_context(closing(Spawned()))


if __name__ == "__main__":
    main()
