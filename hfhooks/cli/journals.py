"""The journals that commands read: that of a running server, of a script, or the last one used."""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hfhooks.console.output import print_note
from hfhooks.errors import StartError, UsageError
from hfhooks.journal import Reading, open_reading, path_of, url_of
from hfhooks.journal.folders import journal_folder, journals
from hfhooks.model.delivery import Recorded, Wanted
from hfhooks.model.events import nearest
from hfhooks.model.running_server import RunningServer
from hfhooks.private import state_folder
from hfhooks.serving.owner import find_server, running_servers

if TYPE_CHECKING:
    from hfhooks.model.exported import Exported
    from hfhooks.settings import Settings

__all__ = [
    "check_endpoint",
    "journal_url",
    "known_journals",
    "named",
    "now",
    "opened",
    "reading",
    "recorded",
    "script_of",
    "server_if_any",
    "settings_of",
    "state_root",
]

T = TypeVar("T")
LONGEST_ID = 19
"""Digits of the number of a delivery."""


def now(answer: Coroutine[Any, Any, T]) -> T:
    """Return what a journal in a file answers, which it does at once.

    To import an event loop takes longer than most commands take.
    """
    try:
        answer.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a journal that is in no file")


@contextmanager
def opened(port: int | None = None, script: str | None = None) -> Iterator[Reading]:
    """Read the journal that is meant. Raises `HfhooksError` when there is none."""
    with reading(journal_url(port, script)) as journal:
        yield journal


@contextmanager
def reading(url: str) -> Iterator[Reading]:
    """Read a journal, whose answers come `now`. Raises `HfhooksError` when there is none."""
    journal = open_reading(url)
    try:
        yield journal
    finally:
        now(journal.close())


def journal_url(port: int | None, script: str | None) -> str:
    """Return the URL of the running server's journal, or that of a script, or the last one used.

    Raises `StartError` when there is none.
    """
    if script is None and (server := server_if_any(port)):
        return server.journal
    settings = settings_of(script)
    if settings.ignored:
        _say_once(settings.ignored)
    if url := settings.journal:
        return url
    if script is not None:
        path = journal_folder(state_root(script), _key(script)) / "journal.db"
        if not path.is_file():
            raise StartError(f"no deliveries of {script} are recorded.")
        return url_of(path)
    if not (found := known_journals()):
        raise StartError("no deliveries are recorded.", "Start a server: hfhooks serve SCRIPT.py")
    name = script_of(found[0])
    print_note(f"no server is running; these are the deliveries of {name}, which was used last.")
    return found[0]


def known_journals(script: str | None = None) -> list[str]:
    """Return the URLs of the journals there are, the one that was used last first."""
    if url := settings_of(script).journal:
        return [url]
    return [url_of(path) for path in journals(state_root(script))]


def state_root(script: str | None = None) -> Path:
    """Return the folder below which journals are."""
    return settings_of(script).state_dir or state_folder()


def script_of(url: str) -> str:
    """Return the name of the script, without its ending, that a journal is for."""
    path = path_of(url)
    return path.parent.name.rpartition("-")[0] or path.stem


def server_if_any(port: int | None) -> RunningServer | None:
    """Return the running server, None if none is meant. Raises `UsageError` for several."""
    return find_server(port) if port is not None or running_servers() else None


def recorded(journal: Reading, id: int) -> Recorded:
    """Return one delivery. Raises `UsageError` if it is not there."""
    if (delivery := now(journal.get(id))) is None:
        raise UsageError(f"no delivery {id} is recorded.")
    return delivery


def check_endpoint(journal: Reading, name: str | None) -> None:
    """Accept an endpoint that is known, or has deliveries there. Raises `UsageError`."""
    if name and not now(journal.list(Wanted(endpoint=name, limit=1))):
        known = [each.endpoint.name for each in now(journal.endpoints()) or ()]
        if name not in known:
            hint = f", {nearest(name, known)}" if known else "."
            raise UsageError(f"no endpoint {name!r}{hint}")


def named(name: str, port: int | None = None, script: str | None = None) -> "list[Exported]":
    """Return what a file of this name holds, `-` for stdin, or the delivery of this number.

    Raises `HfhooksError` if it is not there, or holds something else.
    """
    from hfhooks.cli.payload_files import read_payloads  # as slow as all else of this module
    from hfhooks.model.exported import Exported

    is_number = name.isascii() and name.isdigit()
    if not is_number or (len(name) <= LONGEST_ID and Path(name).exists()):
        return read_payloads(name)
    with opened(port, script) as journal:
        return [Exported.of(recorded(journal, int(name) if len(name) <= LONGEST_ID else 0))]


def settings_of(script: str | None = None) -> "Settings":
    """Return the settings in force for a script, or in the working folder. Raises `UsageError`."""
    from hfhooks.settings import load_settings  # which is seldom needed

    if script is None:
        return load_settings()
    from hfhooks.supervisor.targets import code_of, find_targets

    try:
        target = find_targets([script])[0]
    except UsageError:  # see `_key`
        return load_settings(Path(script))
    return load_settings(code_of(target), Path(target.folders[0]))


@cache
def _say_once(note: str) -> None:
    print_note(note)


def _key(script: str) -> str:
    from hfhooks.supervisor.targets import find_targets

    try:
        return find_targets([script])[0].key
    except UsageError:  # it is gone, and its deliveries need not be
        return str(Path(script).absolute())
