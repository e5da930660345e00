"""The worker process, as it is started. Imports next to nothing: a worker starts first."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["Spawned"]


class Spawned:
    """A child that warms up at once, and loads the user's scripts when told to by its `sock`.

    Raises `OSError` where it cannot be started.
    """

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        number = theirs.fileno()
        command = [sys.executable, "-P", "-m", "hfhooks.worker.process", str(number)]
        try:
            with theirs, _ctrl_c_waits():
                # What the script prints goes to stderr, because our stdout is for data.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=[number]
                )
        except BaseException:
            self.sock.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, below zero for a signal. Raises `subprocess.TimeoutExpired`."""
        return self._process.wait(timeout)

    def step_back(self) -> None:
        """Give it a low priority, while it warms up."""
        self._schedule("SCHED_BATCH")

    def step_forward(self) -> None:
        """Give it its usual priority again."""
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
        self.sock.close()
        self.kill()
        self.wait()


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
