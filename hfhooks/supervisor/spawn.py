"""The worker process, as its parent holds it. Imports next to nothing: a worker starts first."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["WorkerProcess"]

STOP_WITHIN = 1.0
"""Seconds a worker with nothing to do gets to leave before it is killed."""


class WorkerProcess:
    """A child that warms up at once, and loads the user's scripts when told to."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "hfhooks.worker.process"]
        with _ctrl_c_waits():
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, **message: Any) -> None:
        """Tell the worker something; one that is gone hears nothing."""
        with suppress(OSError, ValueError):  # broken, or closed here
            self._to.write(json.dumps(message).encode() + b"\n")
            self._to.flush()

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield what the worker says, waiting for it, until it is gone."""
        for line in self._from:
            yield json.loads(line)
        self._from.close()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, below zero for a signal. Raises `subprocess.TimeoutExpired`."""
        return self._process.wait(timeout)

    def step_back(self) -> None:
        """Let it leave the processor to others while it warms up."""
        self._schedule("SCHED_BATCH")

    def step_forward(self) -> None:
        """Let it have its part of the processor again."""
        self._schedule("SCHED_OTHER")

    def _schedule(self, policy: str) -> None:
        # Unlike niceness, which nobody but root can take back. Linux alone has it.
        if hasattr(os, policy):
            with suppress(OSError):  # it is gone, or not ours to choose
                os.sched_setscheduler(self.pid, getattr(os, policy), os.sched_param(0))

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the child, whatever state it is in; once it has ended, do nothing."""
        if self._to.closed:
            return
        self.send(type="stop")
        try:
            self.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
        with suppress(OSError):
            self._to.close()


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Start the child deaf to Ctrl-C, until it has said itself what to do about it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
