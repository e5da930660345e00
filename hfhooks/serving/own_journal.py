"""Which journal a server has."""

import os

from hfhooks.journal import Journal, open_journal, path_of, url_of
from hfhooks.journal.folders import journal_folder
from hfhooks.model.retention import Retention
from hfhooks.private import check_private, state_folder
from hfhooks.settings import Settings

__all__ = ["journal_url", "open_own_journal"]


def journal_url(settings: Settings, key: str) -> str:
    """Return the URL of the journal for what has this key, as `Target.key` is one.

    Raises `StartError` for a folder that others may write to, `UsageError` for what would keep
    nothing for the next start.
    """
    if settings.journal:
        return url_of(path_of(settings.journal))
    root = settings.state_dir or state_folder()
    folder = journal_folder(root, key)
    check_private(root, is_ours=False)
    for made in (folder.parent, folder):
        check_private(made)
    return url_of(folder / "journal.db")


def open_own_journal(url: str, settings: Settings, port: int | None = None) -> Journal:
    """Open a journal for this server, on the running loop, for this process alone.

    One that nobody has named is deleted in the end if nothing was ever recorded in it, as where a
    script could not be loaded. Raises `JournalError` when it cannot be had.
    """
    owner = f"process {os.getpid()}" + (f" on port {port}" if port else "")
    keep = Retention(settings.keep_days, settings.keep_deliveries, settings.keep_mib)
    is_named = settings.journal is not None
    return open_journal(url, owner=owner, retention=keep, keep_unused=is_named)
