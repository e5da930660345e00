"""What the stand-ins share as programs: they end on a signal, and tell tests about themselves."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

ENDING = {signal.SIGTERM, signal.SIGINT}


def end_on_signals() -> None:
    """End with 0 on SIGTERM and SIGINT, at once; call it before threads start.

    A thread waits for them, because a main thread that waits for a lock misses the signals that the
    kernel gives to another thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def end() -> None:
        signal.sigwait(ENDING)
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()


def write_state(variable: str, **state: object) -> None:
    """Rewrite in one step the JSON file that this environment variable names, if it is set."""
    if name := os.environ.get(variable):
        own = {"pid": os.getpid(), "argv": sys.argv, "environment": sorted(os.environ)}
        draft = Path(f"{name}.draft")
        draft.write_text(json.dumps(own | state, indent=2))
        draft.replace(name)
