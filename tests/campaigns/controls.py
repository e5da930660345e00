"""Journals that acknowledge too early, each in its way: campaigns must see what gets lost."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

from hfhooks.journal.sqlite import writing
from hfhooks.journal.sqlite.commits import Commits, Write
from hfhooks.journal.sqlite.database import Database
from hfhooks.journal.sqlite.files import log_of, sync

__all__ = ["CONTROLS"]


def without_sync() -> None:
    """Acknowledge what no sync has covered."""
    prepare = writing.prepare

    def prepared(connection: sqlite3.Connection, *given: Any, **named: Any) -> None:
        prepare(connection, *given, **named)
        # The last that is done to a connection before it writes.
        connection.execute("PRAGMA synchronous = NORMAL")

    writing.prepare = prepared


def synced_early() -> None:
    """Sync before the commit instead of after it."""
    without_sync()
    write = Commits.write

    def written(self: Commits, writes: Sequence[Write]) -> Sequence[Any]:
        sync(log_of(self._path))
        return write(self, writes)

    Commits.write = written  # type: ignore[method-assign] # the fault


def acknowledged_late() -> None:
    """Acknowledge with the end of a sync what was committed while it was going on, too."""
    without_sync()
    tell, written = Database._tell, Database._written

    def told(self: Database, what: Callable[[], None]) -> None:
        if not (isinstance(what, partial) and what.func == self._written):
            return tell(self, what)
        if not hasattr(self, "committed"):
            self.committed = SimpleQueue[Any]()  # type: ignore[attr-defined]
            Thread(target=sync_and_tell, args=[self], daemon=True).start()
        self.committed.put(what.args)  # type: ignore[attr-defined]
        return tell(self, partial(written, self, (), ()))  # which lets the next commit begin

    def sync_and_tell(self: Database) -> None:
        while True:
            batches = [self.committed.get()]  # type: ignore[attr-defined]
            with suppress(FileNotFoundError):  # it is closed
                sync(log_of(self.path))
            while not self.committed.empty():  # type: ignore[attr-defined]
                batches.append(self.committed.get())  # type: ignore[attr-defined] # the fault
            for batch in batches:
                tell(self, partial(written, self, *batch))

    Database._tell = told  # type: ignore[method-assign] # the fault


CONTROLS = {"nosync": without_sync, "early": synced_early, "late": acknowledged_late}
