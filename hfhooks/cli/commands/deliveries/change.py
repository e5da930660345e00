"""`hfhooks deliveries retry` and `prune`: what changes the journal.

A journal has one writer: the server if one runs, else this process for a moment.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import typer

from hfhooks.cli.completion import delivery_ids
from hfhooks.cli.journals import journal_url, opened, recorded, server_if_any
from hfhooks.cli.options import MOST, Port, Script, since_when
from hfhooks.console.output import print_note
from hfhooks.errors import HfhooksError, UsageError
from hfhooks.journal import Journal, open_journal
from hfhooks.model.delivery import Wanted
from hfhooks.serving.owner import change

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
        done: Sequence[int] = change(server, f"/deliveries/retry{query}")
    else:
        ids = None if id is None else [id]
        wanted = Wanted(ids=ids, statuses=("failed",) if ids is None else (), limit=MOST)
        done = _change(journal_url(port, script), lambda journal: journal.requeue(wanted))
    if id is not None and not done:
        with opened(port, script) as journal:
            status = recorded(journal, id).status
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
        deleted: int = change(server, f"/deliveries/prune?before={before}")
    else:
        deleted = _change(journal_url(port, script), lambda journal: journal.prune(before))
    print_note(f"deleted: {_numbered(deleted)}.")


def _change(url: str, call: Callable[[Journal], Awaitable[T]]) -> T:
    """Change a journal that no server has."""
    import asyncio

    async def changed() -> T:
        # What the server keeps, and how long, is not known here.
        journal = open_journal(url, owner="hfhooks deliveries", retention=None)
        try:
            return await call(journal)
        finally:
            await journal.close()

    return asyncio.run(changed())


def _numbered(number: int) -> str:
    return "1 delivery" if number == 1 else f"{number} deliveries"
