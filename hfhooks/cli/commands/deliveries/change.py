"""`hfhooks deliveries retry`, `cancel` and `prune`: what changes the journal.

A journal has one writer: the server if one runs, else this process for a moment.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlencode

import typer

from hfhooks.cli.asking import ask
from hfhooks.cli.completion import delivery_ids, endpoint_names
from hfhooks.cli.journals import (
    check_endpoint,
    journal_url,
    now,
    opened,
    reading,
    recorded,
    server_if_any,
)
from hfhooks.cli.options import MOST, Port, Script, since_when
from hfhooks.console.output import print_note
from hfhooks.errors import HfhooksError, UsageError
from hfhooks.journal import Journal, open_journal
from hfhooks.journal.orphans import orphans as orphans_of
from hfhooks.model.delivery import UNFINISHED, Summary, Wanted
from hfhooks.serving.owner import change

T = TypeVar("T")
AT_ONCE = 100
"""Deliveries that a request may name."""
RetryId = Annotated[
    int | None,
    typer.Argument(metavar="[ID]", help="The number of a delivery.", autocompletion=delivery_ids),
]
Failed = Annotated[bool, typer.Option("--failed", help="All that failed for good.")]
OlderThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Received longer ago: 90s, 30m, 2h, 7d.")
]
CancelIds = Annotated[
    list[int] | None,
    typer.Argument(
        metavar="[ID]...", help="The numbers of deliveries.", autocompletion=delivery_ids
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="All of this endpoint.", autocompletion=endpoint_names),
]
Orphans = Annotated[
    bool, typer.Option("--orphans", help="All of endpoints that are not in the script any more.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without being asked.")]
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


def cancel(
    ids: CancelIds = None,
    endpoint: Endpoint = None,
    orphans: Orphans = False,
    yes: Yes = False,
    port: Port = None,
    script: Script = None,
) -> None:
    """End deliveries that wait for a handler, or have one that runs; they are not tried again.

    They stay recorded, as cancelled.

    \b
    Examples:
      hfhooks deliveries cancel 17 18
      hfhooks deliveries cancel --endpoint train
      hfhooks deliveries cancel --orphans --yes
    """
    if bool(ids) + (endpoint is not None) + orphans != 1:
        raise UsageError("name deliveries, or say --endpoint NAME, or --orphans.")
    name = endpoint and endpoint.strip("/").removeprefix("webhooks/")
    server = server_if_any(port) if script is None else None
    url = server.journal if server else journal_url(port, script)
    found = _unfinished(url, ids, name, orphans)
    if found and not yes:
        _ask_about(found)
    wanted = Wanted(ids=[each.id for each in found], statuses=UNFINISHED, limit=MOST)
    if server is None:
        done = len(_change(url, lambda journal: journal.cancel(wanted))) if found else 0
    elif ids:
        steps = range(0, len(found), AT_ONCE)
        queries = ["&".join(f"id={each.id}" for each in found[at : at + AT_ONCE]) for at in steps]
        done = sum(len(change(server, f"/deliveries/cancel?{query}")) for query in queries)
    else:
        query = "orphans=1" if orphans else urlencode({"endpoint": name})
        done = len(change(server, f"/deliveries/cancel?{query}"))
    print_note(f"cancelled: {_numbered(done)}.")


def _unfinished(
    url: str, ids: Sequence[int] | None, endpoint: str | None, are_orphans: bool
) -> Sequence[Summary]:
    """Return what is meant and not finished. Raises `HfhooksError` for one that is."""
    with reading(url) as journal:
        for id in ids or ():
            if (status := recorded(journal, id).status) not in UNFINISHED:
                raise HfhooksError(f"delivery {id} neither waits nor runs: it is {status}.")
        check_endpoint(journal, endpoint)
        chosen = now(orphans_of(journal)) if are_orphans else ids or None
        wanted = Wanted(ids=chosen, endpoint=endpoint, statuses=UNFINISHED, limit=MOST)
        return now(journal.list(wanted))


def _ask_about(found: Sequence[Summary]) -> None:
    """Go on only if that is meant. Raises `UsageError` where nobody can be asked."""
    running = sum(each.status == "running" for each in found)
    which = f"{_numbered(len(found))}, {running} of which running" if running else ""
    what = "this is" if len(found) == 1 else "these are"
    meant = which or _numbered(len(found))
    ask(f"Cancel {meant}?", f"{what} {meant}.")


def prune(
    older_than: OlderThan = None,
    all: All = False,
    yes: Yes = False,
    port: Port = None,
    script: Script = None,
) -> None:
    """Delete deliveries that are finished, with all that is known of them.

    \b
    Examples:
      hfhooks deliveries prune --older-than 7d
      hfhooks deliveries prune --all --yes
    """
    if (older_than is None) is not all:
        raise UsageError("say --older-than AGE, or --all.")
    if all and not yes:
        ask("Delete all deliveries that are finished?", "this deletes all that are finished.")
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
