"""Keys that a person presses at the terminal of a running server.

The terminal gives each key at once and shows none of them; Ctrl-C and Ctrl-Z stay what they are.
However the server ends, but by kill -9, the terminal is as before.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Keyboard", "has_keyboard", "keyboard"]

LEAVING = [getattr(signal, name) for name in ("SIGQUIT", "SIGTSTP") if hasattr(signal, name)]
"""Ctrl-\\ and Ctrl-Z."""
LOOK_EVERY = 1.0
"""Seconds between two looks, in the background, whether the terminal is ours again."""
MOST = 64
"""Keys that are read at once; more are pasted, and not meant."""


class Keyboard:
    """A terminal that keys come from; `keyboard` makes one."""

    def __init__(self) -> None:
        import termios

        # A description of its own: the loop makes it non-blocking, which all who share one would
        # be, those we print to and the shell among them.
        self._fd = os.open(os.ttyname(sys.stdin.fileno()), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        self._termios = termios
        self._before: list[Any] | None = None
        """Its settings before we changed them."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.TimerHandle | None = None
        self._actions: Mapping[str, Callable[[], Any]] = {}

    def listen(self, actions: Mapping[str, Callable[[], Any]]) -> None:
        """Call from now on, in this event loop, what belongs to each key."""
        self._actions = actions
        self._loop = asyncio.get_running_loop()
        self._take()

    def restore(self) -> None:
        """Leave the terminal as it was."""
        if self._before and self._is_ours:
            with suppress(self._termios.error):
                # Not when all is printed, as after Ctrl-S that would be never.
                self._termios.tcsetattr(self._fd, self._termios.TCSANOW, self._before)

    def close(self) -> None:
        """Stop listening, and leave the terminal as it was."""
        self.restore()
        if self._again:
            self._again.cancel()
        if self._loop:
            with suppress(RuntimeError):  # the loop is closed, and so nobody listens
                for number in (signal.SIGCONT, *LEAVING):
                    self._loop.remove_signal_handler(number)
                self._loop.remove_reader(self._fd)
        os.close(self._fd)

    @property
    def _is_ours(self) -> bool:
        """We are what its keys are meant for: a job in the background must not touch it."""
        with suppress(OSError):
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        return False

    def _take(self) -> None:
        assert self._loop
        self._loop.remove_reader(self._fd)
        if self._again:
            self._again.cancel()
        # Back from Ctrl-Z, the terminal is as the shell wants it.
        self._loop.add_signal_handler(signal.SIGCONT, self._take)
        for number in LEAVING:
            self._loop.add_signal_handler(number, self._leave, number)
        if not self._is_ours:  # nobody tells a job that runs when it comes to the foreground
            self._again = self._loop.call_later(LOOK_EVERY, self._take)
            return
        with suppress(self._termios.error):
            wanted = self._termios.tcgetattr(self._fd)
            self._before = self._before or list(wanted)
            wanted[3] &= ~(self._termios.ECHO | self._termios.ICANON)
            wanted[6] = list(wanted[6])
            wanted[6][self._termios.VMIN], wanted[6][self._termios.VTIME] = 1, 0
            self._termios.tcsetattr(self._fd, self._termios.TCSANOW, wanted)
            self._loop.add_reader(self._fd, self._read)

    def _leave(self, number: int) -> None:
        """Do what a signal does to those that know nothing of it, from a terminal as it was."""
        assert self._loop
        self.restore()
        self._loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _read(self) -> None:
        assert self._loop
        if not self._is_ours:
            self._take()
            return
        pressed = b""
        with suppress(OSError):
            pressed = os.read(self._fd, MOST)
        if not pressed:  # the terminal is gone
            self._loop.remove_reader(self._fd)
        elif len(pressed) == 1 and (act := self._actions.get(pressed.decode("latin-1").lower())):
            act()


def has_keyboard() -> bool:
    """Tell whether somebody sits at a terminal, who sees what we say and can press keys."""
    if os.name == "nt" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    with suppress(OSError):  # of another container, or another user's
        return os.access(os.ttyname(sys.stdin.fileno()), os.R_OK)
    return False


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """Yield the keyboard of this terminal, where it `has_keyboard`."""
    keys = Keyboard()
    try:
        yield keys
    finally:
        keys.close()
