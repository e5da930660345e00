"""The worker process, as it is started. Imports next to nothing: a worker starts first."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock

__all__ = ["Spawned"]

ENDS_WITH_US = sys.platform == "linux"
"""A worker can have itself and its group killed when we are gone; elsewhere a guard does that."""
MARK = "_HFHOOKS_WORKER"
"""Variable by which what a worker has started is known when the worker itself is gone."""


class Spawned:
    """A child that warms up at once, and loads the user's scripts when told to by its `sock`.

    It leads a group, and a session: where programs that handlers start ask for something at the
    terminal they fail, instead of being stopped. Raises `OSError` where it cannot be started.
    """

    def __init__(self) -> None:
        self.may_leave = False
        """It was told to: what it has started may go on."""
        self._mark = os.urandom(16).hex()
        self._note: Path | None = None
        self._ending = Lock()
        self._guard: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        """The end of a pipe that we alone have: when we are gone, it or its guard knows."""
        with ExitStack() as stack:
            self.sock, theirs = socket.socketpair()
            stack.callback(self.sock.close)
            with theirs:
                pipe, ours = os.pipe()
                stack.callback(os.close, ours)
                try:
                    self._start(theirs.fileno(), pipe)
                finally:
                    os.close(pipe)
            stack.pop_all()
            self._pipe = ours

    def _start(self, number: int, pipe: int) -> None:
        command = [sys.executable, "-P", "-m", "hfhooks.worker.process", str(number)]
        passed = [number]
        if ENDS_WITH_US:
            command.append(str(pipe))
            passed.append(pipe)
        with _ctrl_c_waits():
            # What the script prints goes to stderr, because our stdout is for data.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=passed,
                env={**os.environ, MARK: self._mark},
                start_new_session=True,
            )
        if not ENDS_WITH_US:
            from hfhooks.processes import guard

            self._guard = guard(self.pid, pipe, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self._process.pid

    def note(self) -> None:
        """Let the next start find it, should we be killed."""
        from hfhooks.processes import note

        self._note = note(self.pid, self._mark)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, below zero for a signal. Raises `subprocess.TimeoutExpired`.

        Without a timeout, its number stays its own until `let_go`.
        """
        if timeout is None and self._process.returncode is None and hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # who started us has no interest in children
                found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                if found is not None:
                    has_exited = found.si_code == os.CLD_EXITED
                    return found.si_status if has_exited else -found.si_status
        return self._process.wait(timeout)

    def let_go(self, code: int) -> None:
        """Once it has ended: end what it has started, unless it left as it was told to."""
        from hfhooks.processes import has_members

        with self._ending:
            if self.may_leave and code == 0 and has_members(self.pid):
                # Its number stays its own, and the note of it, until we end: see `end_own`.
                self._process.returncode = code
                return
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._forget()

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

    def terminate(self) -> None:
        """Ask what it has started to leave; it is deaf to that itself."""
        with self._ending:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, and what it has started."""
        with self._ending:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:  # or others may have its number
            with suppress(ProcessLookupError, PermissionError):  # all of it has ended
                os.killpg(self.pid, number)

    def close(self) -> None:
        """End the child, whatever state it is in; once it has ended, do nothing."""
        self.sock.close()
        self.kill()
        self.let_go(self.wait())

    def _forget(self) -> None:
        """Close what nobody has the other end of, and remove the note; again, do nothing."""
        from hfhooks.processes import forget, release

        forget(self._note)
        pipe, self._pipe = self._pipe, None
        if pipe is not None and self._guard:
            release(self._guard, pipe)
        elif pipe is not None:
            os.close(pipe)


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
