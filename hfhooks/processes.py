"""Processes that run beside us, and end with us, however we end.

Each leads a group, to which all belongs that it starts, but for what begins a session of its own.
It is noted in the state folder while it runs: should we be killed, the next start ends it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hfhooks.errors import StartError
from hfhooks.private import check_private, state_folder, write_private

__all__ = ["end_left", "end_own", "forget", "guard", "has_members", "note", "noted", "release"]

PROC = Path("/proc")
LEAVE_WITHIN = 1.0
"""Seconds that a process gets to leave before it is killed."""
GONE_WITHIN = 10.0
"""Seconds in which one that was killed is gone, whatever memory and devices it had."""
LOOK_EVERY = 0.01
"""Seconds between two looks whether it is."""
GUARD = 'read _ || kill -s "$2" -- "-$1"'
"""Waits for a line, or for the end of whoever would write it."""


@dataclass(frozen=True)
class Process:
    """A process, told from all that have had its number or will have it."""

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the process that has this number now. Raises `OSError` if there is none."""
        if sys.platform == "linux":
            return cls(pid, _Stat.of(pid).began)
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        try:
            found = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
        except subprocess.CalledProcessError as error:
            raise ProcessLookupError(pid) from error
        return cls(pid, found.strip())

    @property
    def is_here(self) -> bool:
        """It runs, or has ended and is not forgotten: nothing else has its number."""
        try:
            return Process.of(self.pid) == self
        except OSError:
            return False

    @property
    def runs(self) -> bool:
        with suppress(OSError):
            if Process.of(self.pid) == self:
                return sys.platform != "linux" or not _Stat.of(self.pid).has_ended
        return False


@dataclass(frozen=True)
class Note:
    """What is noted of a process."""

    boot: str
    namespace: str
    """Where the numbers of processes mean what they mean here."""
    owner: Process
    process: Process
    mark: str = ""
    """What is in the environment of all that it starts, and of nothing else."""

    @classmethod
    def read(cls, file: Path) -> "Note | None":
        """Return what a file says, None where it says nothing that makes sense."""
        try:
            row: dict[str, Any] = json.loads(file.read_text())
            both: dict[str, Any] = {name: Process(**row[name]) for name in ("owner", "process")}
            return cls(**{**row, **both})
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None

    @property
    def is_of_this_boot(self) -> bool:
        return self.boot == _here()[0]

    @property
    def is_of_here(self) -> bool:
        return (self.boot, self.namespace) == _here()

    @property
    def members(self) -> list[int]:
        """What runs of the group; nothing of another group that has its number now."""
        pid = self.process.pid
        if self.process.is_here:
            return _members(pid)
        return [each for each in _members(pid) if self.mark and self.mark in _environment(each)]

    def kill(self, number: signal.Signals) -> bool:
        """Send the group this, if something of it runs; tell whether it does."""
        if self.process.pid == os.getpgrp() or not self.members:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
        return True


def note(pid: int, mark: str = "") -> Path | None:
    """Note a process of ours that leads a group; its file is to be removed when it has ended.

    None where that cannot be: then the next start does not find it.
    """
    with suppress(OSError, StartError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A folder that several containers have, where each may have the same numbers.
        file = folder / f"{os.getpid()}-{pid}-{os.urandom(4).hex()}.json"
        made = Note(*_here(), Process.of(os.getpid()), Process.of(pid), mark)
        write_private(file, asdict(made))
        return file
    return None


def end_left() -> None:
    """End what servers have left that were killed, and return when it is gone.

    Raises `StartError` where it does not end.
    """
    for file, found in _notes():
        if found and found.is_of_this_boot:
            if not found.is_of_here or found.owner.runs:
                continue
            _end(found)
        forget(file)


def end_own() -> None:
    """End what our own processes have left that have ended."""
    for file, found in _notes(f"{os.getpid()}-"):
        if found is None or not (found.is_of_here and found.owner.is_here):
            continue
        if found.kill(signal.SIGTERM):
            _wait(found, LEAVE_WITHIN)
            found.kill(signal.SIGKILL)
        forget(file)


@contextmanager
def noted(pid: int) -> Iterator[None]:
    """End a process, which leads a group, when we end; if we are killed too."""
    file = note(pid)
    try:
        if os.name == "nt":
            yield
            return
        reading, writing = os.pipe()
        try:
            guarding = guard(pid, reading, signal.SIGTERM)
        finally:
            os.close(reading)
        try:
            yield
        finally:
            release(guarding, writing)
    finally:
        forget(file)


def guard(pid: int, pipe: int, number: signal.Signals) -> "subprocess.Popen[bytes]":
    """Start what sends a group this when nobody holds the other end of a pipe any more."""
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "hfhooks", str(pid), number.name.removeprefix("SIG")],
        stdin=pipe,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
        start_new_session=True,
    )


def release(guarding: "subprocess.Popen[bytes]", pipe: int) -> None:
    """End a guard, by the other end of its pipe, which is closed."""
    with suppress(BrokenPipeError):  # somebody has ended it
        os.write(pipe, b"\n")
    os.close(pipe)
    guarding.wait()


def forget(file: Path | None) -> None:
    """Remove a note, if it was made."""
    if file:
        with suppress(OSError):
            file.unlink()


def has_members(pid: int) -> bool:
    """Tell whether something runs of the group that this process leads, or has led."""
    return bool(_members(pid))


def _end(found: Note) -> None:
    if found.kill(signal.SIGKILL) and not _wait(found, GONE_WITHIN):
        pids = ", ".join(map(str, found.members))
        text = f"what a server that was killed has left does not end: process {pids}."
        raise StartError(text, "What it had begun would run a second time beside it.")


def _wait(found: Note, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while found.members:
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True


def _folder() -> Path:
    """Return where notes are kept. Raises `StartError` for a folder that is not ours alone."""
    folder = state_folder() / "processes"
    check_private(folder)
    return folder


def _notes(beginning: str = "") -> Iterator[tuple[Path, Note | None]]:
    """Yield what is noted; where others could have written that, it counts for nothing."""
    with suppress(StartError, OSError):
        _here()  # or numbers of processes mean nothing
        for file in sorted(_folder().glob(f"{beginning}*.json")):
            yield file, Note.read(file)


@cache
def _here() -> tuple[str, str]:
    """Return this boot of the machine, and the namespace we are in.

    Raises `OSError` where that cannot be told.
    """
    if sys.platform != "linux":
        return "", ""
    if (PROC / "self").readlink().name != str(os.getpid()):
        raise FileNotFoundError("/proc is that of another namespace")
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return boot, str((PROC / "self/ns/pid").readlink())


@dataclass(frozen=True)
class _Stat:
    """What Linux says of a process: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""

    group: int
    has_ended: bool
    """All that is left of it is its number."""
    began: str
    """In ticks since the machine was started."""

    @classmethod
    def of(cls, pid: int) -> "_Stat":
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()
        has_ended = fields[0] in b"ZX" and int(fields[17]) <= 1  # other threads may take longer
        return cls(int(fields[2]), has_ended, fields[19].decode())


def _members(pid: int) -> list[int]:
    """Return what runs of a group."""
    if sys.platform != "linux":
        try:
            os.killpg(pid, 0)
        except (ProcessLookupError, PermissionError):  # the latter where all of it has ended
            return []
        return [pid]
    with suppress(OSError), os.scandir(PROC) as found:
        numbers = [int(each.name) for each in found if each.name.isdecimal()]
        return [each for each in numbers if _is_in(each, pid)]
    return []


def _is_in(pid: int, group: int) -> bool:
    try:
        stat = _Stat.of(pid)
    except OSError:  # it is gone meanwhile
        return False
    return stat.group == group and not stat.has_ended


def _environment(pid: int) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / "environ").read_text("latin-1")
    return ""
