"""Who has a database, and how the last one who had it came to its end."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["DIED", "STOPPED", "UNKNOWN", "Holder"]

BOOT = Path("/proc/sys/kernel/random/boot_id")
STOPPING = "stopping"
DIED, STOPPED, UNKNOWN = "died", "stopped", "unknown"
"""How the last one who had a database came to its end: suddenly, though the machine went on; as it
had been told to, or the machine was started anew; in a way that nobody knows."""


class Holder:
    """A file beside a database that says who has it, for as long as that lasts.

    Where it is found by the next one, the last one has died. It has the name, then which start of
    the machine that was, then whether it had been told to stop.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_suffix(".holder")
        self._stream: int | None = None

    @property
    def name(self) -> str:
        """Who has the database, for others."""
        return next(iter(self._lines()), "another server")

    @property
    def end_of_the_last(self) -> str:
        """How the last one came to its end."""
        lines = self._lines()
        if len(lines) < len(("name", "boot")):
            return UNKNOWN
        return DIED if lines[1] == _boot() and STOPPING not in lines[2:] else STOPPED

    def take(self, name: str) -> None:
        """Say who has it now."""
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._stream = os.open(self.path, flags, 0o600)
        os.write(self._stream, f"{' '.join(name.split())}\n{_boot()}\n".encode())

    def stopping(self) -> None:
        """Note that whatever ends us from here on is nobody's fault. Safe in a signal's handler."""
        if self._stream is not None:
            with suppress(OSError):  # a full disk
                os.write(self._stream, f"{STOPPING}\n".encode())

    def leave(self) -> None:
        """Say that nobody has it."""
        self.path.unlink(missing_ok=True)
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(errors="replace").splitlines()
        except OSError:
            return []


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:  # elsewhere than on Linux
        return "unknown"
