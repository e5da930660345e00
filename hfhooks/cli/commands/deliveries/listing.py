"""`hfhooks deliveries`: a line for each."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hfhooks.cli.commands.deliveries.records import MOST, Port, Script, Since, opened, since_when
from hfhooks.cli.completion import endpoint_names, event_names, words
from hfhooks.console.text import print_deliveries, print_note
from hfhooks.errors import UsageError
from hfhooks.model.events import nearest

if TYPE_CHECKING:
    from hfhooks.journal.sqlite.records import Records, Summary, Wanted

STATUSES = ("queued", "running", "retrying", "succeeded", "failed", "ignored")
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
NOT_RUN = ("queued", "running")
OPEN = (*NOT_RUN, "retrying")
"""What becomes something else by itself."""
LOOK_EVERY = 0.3
"""Seconds between two looks for new ones."""


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
    from hfhooks.journal.sqlite.records import Wanted

    if status is not None and status not in STATUSES:
        raise UsageError(f"no status {status!r}, {nearest(status, STATUSES)}")
    name = endpoint and endpoint.strip("/").removeprefix("webhooks/")
    wanted = Wanted(name, status, event, repo, since_when(since), limit=limit)
    with opened(port, script) as records:
        found = records.summaries(wanted)[::-1]
        if not found and not follow:
            print_note("no deliveries.")
        print_deliveries(found, as_json=as_json)
        if follow:
            for more in _following(records, wanted):
                print_deliveries(more, as_json=as_json, has_head=False)


def _following(records: "Records", wanted: "Wanted") -> "Iterator[Sequence[Summary]]":
    """Yield those that come, each when a handler has run for it, and again after another one."""
    everything = replace(wanted, status=None, limit=MOST)
    last = max((each.id for each in records.summaries(replace(everything, limit=1))), default=0)
    unfinished = [records.summaries(replace(everything, status=status)) for status in OPEN]
    known = {each.id: _state(each) for some in unfinished for each in some}
    while True:
        time.sleep(LOOK_EVERY)
        start = min(known, default=last + 1) - 1
        found = records.summaries(replace(everything, after=start))[::-1]
        awaited = [each for each in found if each.id > last or each.id in known]
        news = [each for each in awaited if known.get(each.id) != _state(each)]
        known = {each.id: _state(each) for each in awaited if each.status in OPEN}
        last = max((each.id for each in found), default=last)
        told = [each for each in news if each.status not in NOT_RUN]
        if told := [each for each in told if wanted.status in (None, each.status)]:
            yield told


def _state(summary: "Summary") -> tuple[str, int]:
    return summary.status, summary.attempts
