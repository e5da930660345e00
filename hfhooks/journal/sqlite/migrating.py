"""A journal that an earlier version has made is brought up, and kept as it was beside that."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hfhooks.errors import JournalError
from hfhooks.journal.sqlite.files import ANOTHER, connect, sync, sync_folder
from hfhooks.journal.sqlite.schema import COLUMNS, SCHEMA, STEPS, VERSION
from hfhooks.version import __version__

__all__ = ["bring_up", "keep_earlier", "version_of"]


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables, 0 where there are none yet.

    They tell it themselves: what is restored from a dump has lost its number. Raises
    `JournalError` for a later one, and for tables of another program's.
    """
    number = _number_of(connection)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master").fetchall()]
    if names and "deliveries" not in names:
        raise JournalError(f"{path} is a database, and no journal of hfhooks.", help=ANOTHER)
    if not 0 <= number <= VERSION:
        raise JournalError(
            f"{path} has version {number}, and this hfhooks knows {VERSION}"
            f"{_made_by(connection, __version__)}.",
            help="Use the hfhooks that made it, or give this one its own: --state-dir FOLDER",
        )
    return _version_by(_columns_of(connection)) if names else 0


def _number_of(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def _columns_of(connection: sqlite3.Connection) -> set[str]:
    return {name for _, name, *_ in connection.execute("PRAGMA table_info(deliveries)")}


def _version_by(columns: set[str]) -> int:
    """Return which version has such deliveries."""
    return next((version for version, name in COLUMNS.items() if name in columns), VERSION)


def keep_earlier(connection: sqlite3.Connection, path: Path) -> None:
    """Copy what an earlier version has made to a file beside it, before it is brought up."""
    found = version_of(connection, path)
    if found in (0, VERSION):
        return
    kept = path.with_name(f"{path.name}.v{found}")
    part = kept.with_name(f"{kept.name}.part")
    part.unlink(missing_ok=True)
    # SQLite would create it readable by everyone.
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with closing(connect(part)) as copy:
            connection.backup(copy)
        sync(part)
        part.replace(kept)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(kept.parent)


def bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an earlier version up, all or nothing.

    Raises `JournalError` for those of a later version.
    """
    found = version_of(connection, path)
    if _number_of(connection) == found == VERSION:
        return
    steps = "".join(STEPS[number] for number in range(found, VERSION)) if found else SCHEMA
    connection.executescript(
        f"BEGIN IMMEDIATE; {steps} UPDATE meta SET made_by = '{__version__}'; "
        f"PRAGMA user_version = {VERSION}; COMMIT;"
    )


def _made_by(connection: sqlite3.Connection, here: str) -> str:
    """Return which versions of hfhooks these are, where that is known."""
    try:
        [[maker]] = connection.execute("SELECT made_by FROM meta").fetchall()
    except (sqlite3.Error, ValueError):  # an earlier one, or a table that has become another
        return ""
    return f": {maker} has made it, and this is {here}"
