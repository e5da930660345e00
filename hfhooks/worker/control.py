"""The pipes between a worker and the gateway that started it, as the worker holds them.

JSON lines. `preload`, `load`, `ping` and `stop` come in on what was stdin; `preloaded`, `ready` or
`failed`, `alive`, `blocked`, `free`, `failed_late` and `served` go out on what was stdout. The
script sees an empty stdin, and what it prints goes to stderr, because the gateway's stdout is for
data. When the gateway is gone the worker goes too.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from hfhooks.redact import redact

__all__ = ["Control"]


class Control:
    """Takes the pipes over and listens to them in a thread."""

    def __init__(self) -> None:
        self._incoming = os.fdopen(os.dup(0), "rb")
        self._outgoing = os.fdopen(os.dup(1), "wb")
        self._tasks: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.is_load_waiting = False
        """There is no time left for what merely prepares."""
        self.on_stop: Callable[[], None] = lambda: os._exit(0)
        """What `stop` does; until deliveries are taken there is nothing to finish."""
        self._socket_file: Path | None = None
        _repoint_standard_streams()
        Thread(target=self._listen, daemon=True, name="hfhooks-control").start()

    def wait_for_task(self) -> dict[str, Any]:
        """Return the next message that says what to preload or to load."""
        return self._tasks.get()

    def report(self, **message: Any) -> None:
        """Tell the gateway something."""
        with suppress(BrokenPipeError):
            self._outgoing.write(json.dumps(message).encode() + b"\n")
            self._outgoing.flush()

    def _listen(self) -> None:
        for line in self._incoming:
            message = json.loads(line)
            if message["type"] == "load":
                self._socket_file = message["socket"] and Path(message["socket"])
                self.is_load_waiting = True
                self._tasks.put(message)
            elif message["type"] == "preload":
                self._tasks.put(message)
            elif message["type"] == "ping":
                self.report(type="alive")
            else:
                self.on_stop()
        self._follow_the_gateway()

    def _follow_the_gateway(self) -> None:
        if self._socket_file:
            with suppress(OSError):
                self._socket_file.unlink(missing_ok=True)
                self._socket_file.parent.rmdir()
        os._exit(1)


def _repoint_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a real stream here
    for stream in (sys.stdout, sys.stderr):
        redact.guard(stream)
