"""Options and arguments that several commands have, and what is read from them."""

import re
import time
from typing import Annotated

import typer

from hfhooks.cli.completion import delivery_ids, endpoint_names
from hfhooks.errors import UsageError

__all__ = ["MOST", "AsJson", "Id", "Port", "Script", "Set", "Since", "To", "since_when"]

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
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another value, such as repo.name=me/x; null takes a key away.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
MOST = 1_000_000
"""Deliveries that are looked for."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


def since_when(age: str | None) -> float:
    """Return when that was, in seconds since 1970. Raises `UsageError`."""
    if age is None:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age)
    if not found:
        raise UsageError(f"{age!r} is no age: write 90s, 30m, 2h or 7d.")
    return time.time() - float(found[1]) * UNITS[found[2]]
