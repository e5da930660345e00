"""Which journal a server has."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from hfhooks.console.output import print_note
from hfhooks.errors import StartError
from hfhooks.journal import Journal, open_journal, path_of, url_of
from hfhooks.journal.folders import journal_folder
from hfhooks.model.retention import Retention
from hfhooks.mounts import file_system, is_elsewhere
from hfhooks.private import check_private, state_folder
from hfhooks.settings import Settings

__all__ = ["journal_url", "open_own_journal"]

LOST = (
    "deliveries are recorded in {}, which a Space loses when it restarts, with all that is not "
    "finished. A disk at /data would stay; a bucket or a network file system cannot be used."
)


def journal_url(settings: Settings, key: str, tell: Callable[[str], None] = print_note) -> str:
    """Return the URL of the journal for what has this key, as `Target.key` is one.

    `tell` gets what a person should know of the place. Raises `StartError` for a folder that others
    may write to, `UsageError` for what would keep nothing for the next start.
    """
    if settings.journal:
        path = path_of(settings.journal)
        check_private(path.parent, is_ours=False)
        return url_of(path)
    root = settings.state_dir or _root(tell)
    folder = journal_folder(root, key)
    check_private(root, is_ours=False)
    for made in (folder.parent, folder):
        check_private(made)
    return url_of(folder / "journal.db")


def _root(tell: Callable[[str], None]) -> Path:
    """Return the folder below which journals are, where none is named. Raises `StartError`.

    A Space has at times neither a home folder nor a user that the machine knows.
    """
    if "SPACE_ID" not in os.environ:
        return state_folder()
    root = _usable_state_folder() or Path(mkdtemp(prefix="hfhooks-"))  # for this user alone
    tell(LOST.format(root))
    return root


def _usable_state_folder() -> Path | None:
    with suppress(StartError, OSError):
        folder = state_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK) and not is_elsewhere(file_system(folder)):
            return folder
    return None


def open_own_journal(url: str, settings: Settings, port: int | None = None) -> Journal:
    """Open a journal for this server, on the running loop, for this process alone.

    One that nobody has named is deleted in the end if nothing was ever recorded in it, as where a
    script could not be loaded. Raises `JournalError` when it cannot be had.
    """
    owner = f"process {os.getpid()}" + (f" on port {port}" if port else "")
    keep = Retention(settings.keep_days, settings.keep_deliveries, settings.keep_mib)
    is_named = settings.journal is not None
    return open_journal(url, owner=owner, retention=keep, keep_unused=is_named)
