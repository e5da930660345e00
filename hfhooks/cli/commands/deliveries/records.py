"""Where deliveries are read from, and what their commands have in common."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfhooks.cli.completion import delivery_ids, endpoint_names
from hfhooks.cli.journals import state_root
from hfhooks.cli.payload_files import read_payloads
from hfhooks.console.text import print_note
from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.journal.sqlite.folders import journal_folder, journals
from hfhooks.model.exported import Exported
from hfhooks.serving.announce import RunningServer, find_server, running_servers

if TYPE_CHECKING:
    from hfhooks.journal.sqlite.records import Delivery, Records

Port = Annotated[int | None, typer.Option(help="The server on this port, when several run.")]
Script = Annotated[
    str | None,
    typer.Option(metavar="SCRIPT", help="The script whose deliveries are meant, without a server."),
]
Id = Annotated[
    int,
    typer.Argument(metavar="ID", help="The number of a delivery.", autocompletion=delivery_ids),
]
To = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The endpoint; needed when several want the event.",
        autocompletion=endpoint_names,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Not older than this: 90s, 30m, 2h, 7d."),
]
MOST = 1_000_000
"""Deliveries that are looked for."""
LONG = 20
"""Digits that no delivery's number has."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


@contextmanager
def opened(port: int | None = None, script: str | None = None) -> "Iterator[Records]":
    """Read the journal of the running server, or of a script, or the one that was used last.

    Raises `HfhooksError` when there is none.
    """
    from hfhooks.journal.sqlite.records import Records

    with Records(journal_path(port, script)) as records:
        yield records


def journal_path(port: int | None, script: str | None) -> Path:
    """Return the journal that is meant. Raises `StartError` when there is none."""
    if script is not None:
        path = journal_folder(state_root(), _key(script)) / "journal.db"
        if not path.is_file():
            raise StartError(f"no deliveries of {script} are recorded.")
        return path
    if server := server_if_any(port):
        return Path(server.journal)
    found = journals(state_root())
    if not found:
        raise StartError("no deliveries are recorded.", "Start a server: hfhooks serve SCRIPT.py")
    name = script_of(found[0])
    print_note(f"no server is running; these are the deliveries of {name}, which was used last.")
    return found[0]


def _key(script: str) -> str:
    from hfhooks.worker.loading import find_targets

    try:
        return find_targets([script])[0].key
    except UsageError:  # it is gone, and its deliveries need not be
        return str(Path(script).absolute())


def script_of(journal: Path) -> str:
    """Return the name of the script, without its ending, that a journal is for."""
    return journal.parent.name.rpartition("-")[0]


def server_if_any(port: int | None) -> RunningServer | None:
    """Return the running server, None if none is meant. Raises `UsageError` for several."""
    return find_server(port) if port is not None or running_servers() else None


def recorded(records: "Records", id: int) -> "Delivery":
    """Return one delivery. Raises `HfhooksError` if it is not there."""
    if (delivery := records.delivery(id)) is None:
        raise HfhooksError(f"no delivery {id} is recorded.")
    return delivery


def named(name: str, port: int | None = None, script: str | None = None) -> list[Exported]:
    """Return what a file of this name holds, `-` for stdin, or the delivery of this number.

    Raises `HfhooksError` if it is not there, or holds something else.
    """
    is_number = name.isascii() and name.isdigit()
    if not is_number or (len(name) < LONG and Path(name).exists()):
        return read_payloads(name)
    with opened(port, script) as records:
        return [Exported.of(recorded(records, int(name) if len(name) < LONG else 0))]


def since_when(age: str | None) -> float:
    """Return when that was, in seconds since 1970. Raises `UsageError`."""
    if age is None:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age)
    if not found:
        raise UsageError(f"{age!r} is no age: write 90s, 30m, 2h or 7d.")
    return time.time() - float(found[1]) * UNITS[found[2]]
