"""`hfhooks replay`: have payloads and recorded deliveries handled again."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace as but
from functools import partial
from typing import Annotated, Any

import typer

from hfhooks.cli.asking import ask
from hfhooks.cli.completion import delivery_ids
from hfhooks.cli.journals import named, now, opened
from hfhooks.cli.options import MOST, AsJson, Port, Set, Since, To, since_when
from hfhooks.console.output import print_data, print_note, print_sent, progress
from hfhooks.console.tables import print_verdicts
from hfhooks.errors import UsageError
from hfhooks.model import views
from hfhooks.model.delivery import Wanted
from hfhooks.model.exported import Exported, encoded
from hfhooks.model.headers import SECRET_HEADER, carried
from hfhooks.model.running_server import RunningServer
from hfhooks.model.samples import changes_of, edited
from hfhooks.model.sending import JSON, Endpoints, Request, Sent, replayed, verdicts
from hfhooks.model.sending import named as endpoint_named
from hfhooks.serving.owner import find_server, post, send
from hfhooks.supervisor.targets import find_targets

Payloads = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PAYLOAD]...",
        help="JSON files, - for stdin, or ids of recorded deliveries.",
        autocompletion=delivery_ids,
    ),
]
Last = Annotated[
    int,
    typer.Option(
        metavar="[NUMBER]", min=1, max=MOST, help="The last delivery, or the last so many."
    ),
]
Failed = Annotated[bool, typer.Option("--failed", help="All deliveries that failed for good.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say which endpoint would get it and why, send nothing.")
]
Offline = Annotated[
    str | None,
    typer.Option(metavar="SCRIPT", help="Call the handlers of this script, without a server."),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Send it there, with WEBHOOK_SECRET, instead of to a server."),
]
AllowRemote = Annotated[
    bool, typer.Option("--allow-remote", help="The URL may be on another machine.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Replay many without being asked.")]

MANY = 100
"""Deliveries beyond which a person is asked first."""


def replay(
    payloads: Payloads = None,
    last: Last = 0,
    failed: Failed = False,
    since: Since = None,
    to: To = None,
    changes: Set = None,
    offline: Offline = None,
    url: Url = None,
    allow_remote: AllowRemote = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    port: Port = None,
) -> None:
    """Send payloads to the running server, as the Hub would, and show the handler's answer.

    A file holds one payload, a JSON array or JSON lines of several, or a delivery that was
    exported. A recorded delivery goes to its own endpoint, byte for byte as it came, with the same
    Webhook-Id; it is a new delivery, and marked as a replay. The secret is not needed. Exits with 1
    if a handler failed.

    \b
    Examples:
      hfhooks replay payload.json
      hfhooks replay 17
      hfhooks replay --last
      hfhooks replay --failed --since 2h
      hfhooks replay payload.json --to trigger_training --set repo.name=me/x
      hfhooks replay payloads.jsonl --dry-run
      hfhooks replay payload.json --offline app.py
      curl -s https://example.com/payload.json | hfhooks replay -
    """
    if offline and url:
        raise UsageError("--offline and --url are two ways.")
    if url and (dry_run or to):
        raise UsageError("--url is sent as it is: --to and --dry-run need a server or --offline.")
    if not (payloads or last or failed or since):
        raise UsageError("nothing to replay: name a file or a delivery, or say --last.")
    edits = _edits(changes or [])
    found = [one for name in payloads or () for one in named(name, port, offline)]
    if last or failed or since:
        found += _chosen(last, failed, since, port, offline)
    found = [_edited(one, edits) for one in found] if edits else found
    if not (dry_run or yes):
        _ask_about(len(found))
    if offline:
        has_failed = _call_all(offline, found, to, dry_run, as_json)
    elif url:
        requests = [_plain(url, one) for one in found]
        calls = [partial(post, url, one, allow_remote) for one in requests]
        has_failed = _in_turn(calls, as_json)
    else:
        has_failed = _send_all(find_server(port), found, to, dry_run, as_json)
    raise typer.Exit(1 if has_failed else 0)


def _chosen(
    last: int, failed: bool, since: str | None, port: int | None, script: str | None
) -> list[Exported]:
    """Return the deliveries that options choose, the oldest first."""
    statuses = ("failed",) if failed else ()
    wanted = Wanted(statuses=statuses, since=since_when(since), limit=last or MOST)
    with opened(port, script) as journal:
        rows = now(journal.list(wanted))[::-1]
        # What failed again when it was replayed is there twice.
        chosen = [row.id for row in rows if not (failed and row.origin == "replay")]
        found = [now(journal.get(id)) for id in chosen]
    if not found:
        print_note("no deliveries.")
    return [Exported.of(delivery) for delivery in found if delivery]


def _ask_about(number: int) -> None:
    """Go on with many only if that is meant. Raises `UsageError` where nobody can be asked."""
    if number > MANY:
        help = "If all of them are meant: --yes"
        ask(f"Replay {number} deliveries?", f"these are {number} deliveries.", help)


def _call_all(
    script: str, found: Sequence[Exported], to: str | None, dry_run: bool, as_json: bool
) -> bool:
    """Call handlers of a script in a worker of its own; tell whether one failed."""
    import asyncio

    from hfhooks.serving.offline import loaded  # and what a server consists of

    async def call() -> bool:
        async with AsyncExitStack() as stack:
            with progress(f"loading {script} …"):
                handlers = await stack.enter_async_context(loaded(find_targets([script])))
            if dry_run:
                _explain_all(handlers.endpoints, found, to, as_json)
                return False
            requests = [replayed(handlers.endpoints, one, to) for one in found]
            sent = [
                _shown(await handlers.call(request, one.payload), as_json)
                for request, one in zip(requests, found, strict=True)
            ]
            return any(sent)

    return asyncio.run(call())


def _send_all(
    server: RunningServer, found: Sequence[Exported], to: str | None, dry_run: bool, as_json: bool
) -> bool:
    """Send one after the other; tell whether a handler failed."""
    endpoints = [each.endpoint for each in server.endpoints]
    if dry_run:
        _explain_all(endpoints, found, to, as_json)
        return False
    calls = [partial(send, server, replayed(endpoints, one, to)) for one in found]
    return _in_turn(calls, as_json)


def _in_turn(calls: Sequence[Callable[[], Sent]], as_json: bool) -> bool:
    """Make the calls one after the other, and show what comes of each; tell whether one failed."""
    has_failed = False
    for number, call in enumerate(calls, 1):
        with progress(f"{number} of {len(calls)} …"):
            sent = call()
        has_failed |= _shown(sent, as_json)
    return has_failed


def _shown(sent: Sent, as_json: bool) -> bool:
    """Show what became of one; tell whether a handler failed."""
    if as_json:
        print_data(json.dumps(views.sent(sent)))
    else:
        print_sent(sent)
    return sent.has_failed


def _plain(url: str, one: Exported) -> Request:
    """Return a request as the Hub makes it."""
    secret = os.environ.get("WEBHOOK_SECRET")
    own = {SECRET_HEADER: secret.strip()} if secret else {}
    return Request(url, one.body, {**JSON, **carried(one.headers), **own})


def _edits(changes: Iterable[str]) -> dict[str, Any]:
    try:
        return changes_of(changes)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _edited(one: Exported, edits: dict[str, Any]) -> Exported:
    try:
        content = json.loads(one.body)
        if not isinstance(content, dict):
            raise ValueError("--set: that payload is no JSON object.")
        changed = edited(content, edits)
    except (ValueError, RecursionError) as error:
        raise UsageError(str(error)) from error
    return but(one, body=encoded(changed))


def _explain_all(
    endpoints: Endpoints, found: Iterable[Exported], to: str | None, as_json: bool
) -> None:
    """Say which endpoint would get a delivery, and why the others would not."""
    for one in found:
        name = to or one.endpoint
        asked = [endpoint_named(endpoints, name)] if name else endpoints
        print_verdicts(verdicts(asked, one.payload), as_json=as_json)
        replayed(endpoints, one, to)  # says what would keep it from being sent
