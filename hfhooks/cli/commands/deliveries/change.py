"""`hfhooks deliveries retry` and `prune`: what changes the journal.

A journal has one writer: the server if one runs, else this process for a moment.
"""

import json
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from hfhooks.cli.commands.deliveries.records import (
    Port,
    Script,
    journal_path,
    opened,
    recorded,
    server_if_any,
    since_when,
)
from hfhooks.cli.completion import delivery_ids
from hfhooks.console.text import print_note
from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.model.headers import TOKEN_HEADER
from hfhooks.serving.announce import RunningServer

if TYPE_CHECKING:
    from hfhooks.journal.sqlite.journal import Journal

T = TypeVar("T")
RetryId = Annotated[
    int | None,
    typer.Argument(metavar="[ID]", help="The number of a delivery.", autocompletion=delivery_ids),
]
Failed = Annotated[bool, typer.Option("--failed", help="All that failed for good.")]
OlderThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Received longer ago: 90s, 30m, 2h, 7d.")
]
All = Annotated[bool, typer.Option("--all", help="All that are finished.")]


def retry(
    id: RetryId = None, failed: Failed = False, port: Port = None, script: Script = None
) -> None:
    """Have deliveries handled again that failed for good, or wait for their next attempt.

    It is the same delivery, with one more attempt; `hfhooks replay ID` makes a new one. Without
    a server they run when the next one starts.

    \b
    Examples:
      hfhooks deliveries retry 17
      hfhooks deliveries retry --failed
    """
    if (id is None) is not failed:
        raise UsageError("name a delivery, or say --failed.")
    server = server_if_any(port) if script is None else None
    if server:
        query = "" if id is None else f"?id={id}"
        done: list[int] = _ask(server, f"/deliveries/retry{query}")
    else:
        done = _change(journal_path(port, script), lambda journal: _requeued(journal, id))
    if id is not None and not done:
        with opened(port, script) as records:
            status = recorded(records, id).status
        if status == "failed":
            raise HfhooksError(f"delivery {id} was sent again since, and has not failed then.")
        help = f"To have it handled once more all the same: hfhooks replay {id}"
        raise HfhooksError(f"delivery {id} has not failed: it is {status}.", help)
    when = "" if server else ", when the next server starts"
    print_note(f"to be handled again{when}: {_numbered(len(done))}.")


def prune(
    older_than: OlderThan = None, all: All = False, port: Port = None, script: Script = None
) -> None:
    """Delete deliveries that are finished, with all that is known of them.

    \b
    Examples:
      hfhooks deliveries prune --older-than 7d
      hfhooks deliveries prune --all
    """
    if (older_than is None) is not all:
        raise UsageError("say --older-than AGE, or --all.")
    before = time.time() if older_than is None else since_when(older_than)
    server = server_if_any(port) if script is None else None
    if server:
        deleted: int = _ask(server, f"/deliveries/prune?before={before}")
    else:
        deleted = _change(journal_path(port, script), lambda journal: journal.prune(before))
    print_note(f"deleted: {_numbered(deleted)}.")


async def _requeued(journal: "Journal", id: int | None) -> list[int]:
    ids = journal.failed() if id is None else [id]
    return [id for id in ids if await journal.requeue(id)]


def _change(path: Path, change: "Callable[[Journal], Coroutine[Any, Any, T]]") -> T:
    import asyncio

    from hfhooks.journal.sqlite.journal import open_journal

    # What the server keeps, and how long, is not known here.
    holder = "hfhooks deliveries"
    with closing(open_journal(path.parent, holder=holder, retention=None)) as journal:
        return asyncio.run(change(journal))


def _ask(server: RunningServer, target: str) -> Any:
    from http.client import HTTPConnection, HTTPException

    url = urlsplit(server.inspector_url or "")
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.request("POST", target, headers={TOKEN_HEADER: server.token})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        raise StartError(f"the server on port {server.port} did not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise HfhooksError(f"the server on port {server.port} refused: {response.status}.")
    return json.loads(body)


def _numbered(number: int) -> str:
    return "1 delivery" if number == 1 else f"{number} deliveries"
