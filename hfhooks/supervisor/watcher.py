"""Tells when the content of files changes, however an editor saves them."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from math import inf
from pathlib import Path
from stat import S_ISREG

from hfhooks.errors import UsageError
from hfhooks.tasks import Tasks

__all__ = ["Watcher", "check_watchable"]

STEP = 10
"""Milliseconds: so long must nothing more happen before a change is told."""
LONGEST_BURST = 200
"""Milliseconds after which it is told though more happens."""
LOOK_AFTER = 0.5
"""Seconds after which files are looked at that it begins to watch."""
LARGE = 16 * 1024 * 1024
"""Bytes; of a larger file the time of its last change counts, not what is in it."""

MOST_FILES = 10_000
MOST_READ = 256 * 1024 * 1024
"""Files and folders that are watched below one, and bytes that are read: it takes seconds."""


def check_watchable(path: Path) -> None:
    """Raise `UsageError` for what is not there, or costs too much to watch."""
    if not path.exists():
        raise UsageError(f"--watch {path}: no such file or folder.")
    number = size = 0
    for root, _, names in os.walk(path):
        number += 1 + len(names)
        size += sum(filter(_is_read, (_size_of(Path(root, name)) for name in names)))
        if number > MOST_FILES or size > MOST_READ:
            raise UsageError(
                f"--watch {path}: below it are {number} files and folders, and more; to watch them "
                f"{size >> 20} MiB, and more, would be read at the start.",
                help="Name the files and folders that matter.",
            )


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _is_read(size: int) -> bool:
    return size <= LARGE


def _files_below(folder: Path) -> Iterator[Path]:
    return (Path(root, name) for root, _, names in os.walk(folder) for name in names)


class Watcher:
    """Calls `on_change` in the event loop when files that matter have changed.

    Folders are watched rather than files, because many editors save by putting a new file in the
    place of the old one; and contents are compared, because a file can be touched and be the same.
    """

    def __init__(self, on_change: Callable[[list[Path]], None], tasks: Tasks) -> None:
        self._tasks = tasks
        self.takes_new_scripts = False
        """Every Python file matters in the folders that are watched: one may have been missing."""
        self._on_change = on_change
        self._known: dict[Path, object] = {}
        """What was in each file that matters, when it was looked at."""
        self._folders: set[Path] = set()
        """Folders in which every Python file matters."""
        self._trees: list[Path] = []
        """Folders in which every file matters."""
        self._watching: dict[tuple[Path, bool], asyncio.Task[None]] = {}
        self._is_closed = False

    def watch_all(
        self, files: Iterable[str], folders: Iterable[Path], others: Iterable[Path]
    ) -> None:
        """Watch scripts, others that may appear in folders, and other files or folders."""
        self.watch(files)
        for folder in folders:
            self.watch_folder(folder)
        for path in others:
            if path.is_dir():
                self.watch_tree(path)
            else:
                self.watch([path])

    def watch(self, files: Iterable[str | Path], read_at: float = inf) -> None:
        """Watch these files too, whether they are there or not.

        One that is newer than `read_at`, in seconds since 1970, has changed already.
        """
        new = [file for file in map(Path, files) if file not in self._known]
        for file in new:
            self._known[file] = _content(file)
            self._look_at(file.parent, is_tree=False)
        if newer := [file for file in new if _modified_at(file) > read_at]:
            self._on_change(newer)

    def watch_folder(self, folder: Path) -> None:
        """Watch every Python file in this folder."""
        self._folders.add(folder)
        self._look_at(folder, is_tree=False)

    def watch_tree(self, folder: Path) -> None:
        """Watch every file in this folder, and in those below it."""
        self._trees.append(folder)
        self._known.update((file, _content(file)) for file in _files_below(folder))
        self._look_at(folder, is_tree=True)

    def check(self) -> None:
        """Look at all files that matter: where folders are polled a quick save may be missed."""
        if not self._is_closed:
            self._tell(list(self._known))

    def close(self) -> None:
        """Watch no more."""
        self._is_closed = True
        for task in self._watching.values():
            task.cancel()

    def _look_at(self, folder: Path, is_tree: bool) -> None:
        key = (folder, is_tree)
        if key not in self._watching and folder.is_dir() and not self._is_closed:
            follow = partial(self._follow, folder, is_tree)
            self._watching[key] = self._tasks.helper("watching files", follow)

    async def _follow(self, folder: Path, is_tree: bool) -> None:
        from watchfiles import awatch  # takes as long as all else that a start imports

        # What was saved while nobody watched, as after a fault.
        asyncio.get_running_loop().call_later(LOOK_AFTER, self.check)
        changes = awatch(
            folder, watch_filter=None, step=STEP, debounce=LONGEST_BURST, recursive=is_tree
        )
        with suppress(OSError):  # it cannot be watched: `check` is all there is
            async for burst in changes:
                self._tell([Path(path) for _, path in burst])

    def _tell(self, touched: Iterable[Path]) -> None:
        changed = [path for path in touched if self._matters(path) and self._has_changed(path)]
        if changed:
            self._on_change(changed)

    def _matters(self, path: Path) -> bool:
        if path in self._known or any(map(path.is_relative_to, self._trees)):
            return True
        return path.suffix == ".py" and (self.takes_new_scripts or path.parent in self._folders)

    def _has_changed(self, path: Path) -> bool:
        before, self._known[path] = self._known.get(path), _content(path)
        return self._known[path] != before


def _modified_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _content(file: Path) -> object:
    """Return what stands for the content of a file, None where there is none."""
    try:
        status = file.stat()
        if not (_is_read(status.st_size) and S_ISREG(status.st_mode)):  # a pipe would be waited for
            return status.st_size, status.st_mtime_ns
        return blake2b(file.read_bytes()).digest()
    except OSError:
        return None
