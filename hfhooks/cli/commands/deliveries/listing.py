"""`hfhooks deliveries`: a line for each."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

import typer

from hfhooks.cli.completion import endpoint_names, event_names, words
from hfhooks.cli.journals import check_endpoint, now, opened
from hfhooks.cli.options import MOST, Port, Script, Since, since_when
from hfhooks.console.output import print_note
from hfhooks.console.tables import print_deliveries
from hfhooks.errors import UsageError
from hfhooks.journal import Reading
from hfhooks.model.delivery import STATUSES, Summary, Wanted
from hfhooks.model.events import ACTIONS, nearest
from hfhooks.model.samples import SAMPLES

Endpoint = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of this endpoint.", autocompletion=endpoint_names),
]
Status = Annotated[
    str | None,
    typer.Option(
        metavar="STATUS",
        help="succeeded, failed, retrying, ignored, …",
        autocompletion=words(*STATUSES),
    ),
]
Event = Annotated[
    str | None,
    typer.Option(
        metavar="EVENT", help="Of this scope, or scope:action.", autocompletion=event_names
    ),
]
Repo = Annotated[
    str | None, typer.Option(metavar="TYPE:OWNER/NAME", help="Of this repository; globs allowed.")
]
Limit = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=MOST, help="At most so many.")]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with those that come; Ctrl-C ends it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
MOST_RUNNING = 1000
"""Deliveries, the newest ones that run, that others are said to wait for."""
NOT_RUN = ("queued", "running")
"""Of these `--follow` does not tell: something becomes of them."""


def list_deliveries(
    context: typer.Context,
    endpoint: Endpoint = None,
    status: Status = None,
    event: Event = None,
    repo: Repo = None,
    since: Since = None,
    limit: Limit = 20,
    follow: Follow = False,
    as_json: AsJson = False,
    port: Port = None,
    script: Script = None,
) -> None:
    """Show what came in and what became of it, the newest last.

    Reads the journal of the running server; without one, that of --script, or the last one used.

    \b
    Examples:
      hfhooks deliveries --status failed --since 2h
      hfhooks deliveries --repo "dataset:me/*" --event repo.content
      hfhooks deliveries --follow
      hfhooks deliveries show 17
      hfhooks deliveries export 17 > delivery.json
      hfhooks deliveries retry --failed
    """
    if name := context.invoked_subcommand:
        if any((endpoint, status, event, repo, since, follow, as_json, port, script)):
            raise UsageError(
                "options stand behind the command that they are for.",
                f"For example: hfhooks deliveries {name} --script app.py",
            )
        return
    if status is not None and status not in STATUSES:
        raise UsageError(f"no status {status!r}, {nearest(status, STATUSES)}")
    wanted = Wanted(
        endpoint=endpoint and endpoint.strip("/").removeprefix("webhooks/"),
        statuses=[status] if status else (),
        event=event,
        repo=repo,
        since=since_when(since),
        limit=limit,
    )
    with opened(port, script) as journal:
        check_endpoint(journal, wanted.endpoint)
        _check_event(journal, wanted.event)
        found = now(journal.list(wanted))[::-1]
        newest = now(journal.list(Wanted(limit=1)))
        if not found and not follow:
            print_note("no deliveries.")
        running = now(journal.list(Wanted(statuses=["running"], limit=MOST_RUNNING)))
        oldest = {each.endpoint: each.id for each in running}
        print_deliveries(found, as_json=as_json, running=oldest)
        if follow:
            import asyncio

            after = newest[0].id if newest else 0
            asyncio.run(_follow(journal, replace(wanted, limit=1), after, as_json))


def _check_event(journal: Reading, event: str | None) -> None:
    """Accept an event that is known, or recorded. Raises `UsageError`."""
    if event and not now(journal.list(Wanted(event=event, limit=1))):
        known = [*ACTIONS, *SAMPLES]
        if event not in known:
            raise UsageError(f"no event {event!r}, {nearest(event, known)}")


async def _follow(journal: Reading, wanted: Wanted, after: int, as_json: bool) -> None:
    """Print those that come, each when a handler has run for it, and again after another one."""
    async for summary in _changes(journal, wanted, after):
        print_deliveries([summary], as_json=as_json, has_head=False)


async def _changes(journal: Reading, wanted: Wanted, after: int) -> AsyncIterator[Summary]:
    async for changed in journal.follow(after):
        if changed.status not in NOT_RUN:
            for found in await journal.list(replace(wanted, ids=[changed.id])):
                yield found
