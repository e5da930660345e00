"""A disk that keeps a log of what is done to it, can fail, and can lose its power.

`disk.c` writes the log from inside the process that is watched; `Disk` follows the log and knows
what is safe at each moment, and what a power loss may take away.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Self, TypeAlias

SHIM = Path(__file__).with_name("disk.c")
MEMORY = Path("/dev/shm")
"""Where files cost no wear and a sync no time; what it promises comes from the log, not from it."""
SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


@dataclass(frozen=True)
class Operation:
    """One line of the log, with the data that follows it."""

    name: str
    inode: int
    number: int
    data: bytes


Fate: TypeAlias = Callable[[Operation], Operation | None]
"""What remains of an operation that no sync has made safe."""


class Node(ABC):
    """A file or folder: what is safe on the disk, and what was done to it since its last sync."""

    def __init__(self) -> None:
        self.pending: list[Operation] = []
        self._covered: dict[int, list[Operation]] = {}
        """What was pending when a sync began, by its thread."""

    @abstractmethod
    def copy(self) -> Self: ...

    @abstractmethod
    def change(self, operation: Operation) -> None: ...

    def begin_sync(self, thread: int) -> None:
        self._covered[thread] = list(self.pending)

    def sync(self, thread: int) -> None:
        covered = {id(operation) for operation in self._covered.pop(thread)}
        for operation in self.pending:
            if id(operation) in covered:
                self.change(operation)
        self.pending = [each for each in self.pending if id(each) not in covered]

    def after(self, fate: Fate) -> Self:
        """Return what is found after a power loss."""
        left = self.copy()
        for operation in self.pending:
            if rest := fate(operation):
                left.change(rest)
        return left


class File(Node):
    def __init__(self, content: bytes | bytearray = b"") -> None:
        super().__init__()
        self.content = bytearray(content)

    def copy(self) -> Self:
        return type(self)(self.content)

    def change(self, operation: Operation) -> None:
        at, data = operation.number, operation.data
        self.content.extend(bytes(max(0, at - len(self.content))))
        if operation.name == "truncate":
            del self.content[at:]
        else:
            self.content[at : at + len(data)] = data


class Folder(Node):
    def __init__(self, entries: dict[str, int] | None = None) -> None:
        super().__init__()
        self.entries = dict(entries or {})

    def copy(self) -> Self:
        return type(self)(self.entries)

    def change(self, operation: Operation) -> None:
        *old, name = (Path(path).name for path in operation.data.decode().split("\n"))
        if operation.name == "unlink":
            self.entries.pop(name, None)
        elif operation.name == "rename":
            if (inode := self.entries.pop(old[0], None)) is not None:
                self.entries[name] = inode
        else:
            self.entries[name] = operation.inode


class Disk:
    """The files below a folder that was empty before, operation by operation."""

    def __init__(self, root: Path, history: Iterable[Operation] = ()) -> None:
        self._root = root.stat().st_ino
        self._nodes: dict[int, Node] = {self._root: Folder()}
        self._folders = {root: self._root}
        for operation in history:
            self.apply(operation)

    @classmethod
    def found(cls, root: Path) -> Self:
        """Return one where what is below the folder now is safe."""
        disk = cls(root)
        disk._find(root)
        return disk

    def _find(self, path: Path) -> int:
        inode = path.stat().st_ino
        if path.is_dir():
            self._folders[path] = inode
            self._nodes[inode] = Folder({each.name: self._find(each) for each in path.iterdir()})
        else:
            self._nodes[inode] = File(path.read_bytes())
        return inode

    def apply(self, operation: Operation) -> None:
        match operation.name:
            case "write" | "truncate":
                self._nodes[operation.inode].pending.append(operation)
            case "syncing":
                self._nodes[operation.inode].begin_sync(operation.number)
            case "sync":
                self._nodes[operation.inode].sync(operation.number)
            case "failed-sync":
                # Linux marks the pages clean all the same: no later sync will write them.
                self._nodes[operation.inode].pending.clear()
            case "create" | "mkdir" | "unlink" | "rename":
                self._enter(operation)

    def _enter(self, operation: Operation) -> None:
        path = Path(operation.data.decode().rpartition("\n")[2])
        if operation.name == "mkdir":
            self._folders[path] = operation.inode
        if operation.name in ("create", "mkdir"):
            # A new file may get the inode of one that was removed.
            self._nodes[operation.inode] = File() if operation.name == "create" else Folder()
        self._nodes[self._folders[path.parent]].pending.append(operation)

    def write_to(self, target: Path, fate: Fate, inode: int | None = None) -> None:
        """Write the files as they are found after a power loss now."""
        node = self._nodes[self._root if inode is None else inode].after(fate)
        if isinstance(node, File):
            target.write_bytes(node.content)
        elif isinstance(node, Folder):
            target.mkdir(mode=0o700)
            for name, child in node.entries.items():
                self.write_to(target / name, fate, child)


def everything(operation: Operation) -> Operation:
    """The fate of a process that ends without a power loss: all is written in time."""
    return operation


def nothing(_: Operation) -> None:
    """The fate where the disk wrote only what it was told to."""


def chance(random: Random) -> Fate:
    """Each operation is kept, lost or torn, whatever becomes of the others."""
    kept = random.choice((0.0, 0.2, 0.5, 0.8, 1.0))

    def fate(operation: Operation) -> Operation | None:
        draw = random.random()
        if draw < kept:
            return operation
        return _torn(operation, random) if draw > (kept + 2) / 3 else None

    return fate


def _torn(operation: Operation, random: Random) -> Operation | None:
    start, length = operation.number, len(operation.data)
    sectors = range(start + -start % SECTOR, start + length, SECTOR)
    if operation.name != "write" or not sectors:
        return None
    return replace(operation, data=operation.data[: random.choice(sectors) - start])


def operations(log: Path) -> Iterator[Operation]:
    """Yield what is in a log, in the order in which it happened."""
    with log.open("rb") as file:
        for line in file:
            name, inode, number, length = line.split()
            yield Operation(name.decode(), int(inode), int(number), file.read(int(length)))


def why_not() -> str | None:
    """Return why no process can be watched on this machine, if so."""
    if sys.platform != "linux":
        return "LD_PRELOAD and /proc are there on Linux only"
    return None if shutil.which("gcc") else "there is no gcc to compile disk.c with"


@contextmanager
def workspace() -> Iterator[tuple[Path, Path]]:
    """Yield a folder to work in, and the compiled `disk.c`."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory() as built,
        tempfile.TemporaryDirectory(prefix="hfhooks-", dir=memory) as folder,
    ):
        library = Path(built, "disk.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
        yield Path(folder).resolve(), library


def watching(
    library: Path, root: Path, log: Path, fault: str | None = None, slow: float = 0.0
) -> dict[str, str]:
    """Return the environment of a process that is watched, and struck by this fault.

    `slow` is how many seconds a sync takes at most.
    """
    watched = {"LD_PRELOAD": str(library), "DISK_FOLDER": str(root), "DISK_LOG": str(log)}
    watched["DISK_SLOW"] = str(int(slow * 1e6))
    return watched | ({"DISK_FAULT": fault} if fault else {})
