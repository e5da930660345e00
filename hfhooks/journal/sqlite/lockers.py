"""Other programs that keep a SQLite file locked."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["lockers"]

LOCKS = Path("/proc/locks")
PROCESSES = Path("/proc")


def lockers(*files: Path) -> str:
    """Return who has locks for writing on one of these, in words; Linux tells it."""
    names = sorted(set(_named(files)))
    return " and ".join(names) if names else "another program"


def _named(files: Iterable[Path]) -> Iterator[str]:
    with suppress(OSError, ValueError):  # there is no such list, or it reads differently
        numbers = {str(file.stat().st_ino) for file in files}
        for line in LOCKS.read_text(errors="replace").splitlines():
            # https://www.kernel.org/doc/html/latest/filesystems/locks.html and fs/locks.c: number,
            # kind, mode, type, process, device:inode; what waits has an arrow before its kind
            _, kind, _, type_, pid, file, *_ = line.split()
            is_one = kind == "POSIX" and type_ == "WRITE" and file.rpartition(":")[2] in numbers
            if is_one and int(pid) not in (os.getpid(), 0):  # 0 is in another container
                yield f"{_name(pid)} (process {pid})"


def _name(pid: str) -> str:
    try:
        return (PROCESSES / pid / "comm").read_text(errors="replace").strip() or "a program"
    except OSError:
        return "a program"
