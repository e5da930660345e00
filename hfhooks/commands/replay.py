"""`hfhooks replay`: have payloads and recorded deliveries handled again."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace as but
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfhooks.commands.deliveries.records import Since, since_when
from hfhooks.console import print_data, print_note, print_sent, print_verdicts, progress
from hfhooks.errors import HfhooksError, UsageError
from hfhooks.exported import Exported
from hfhooks.payload_files import read_payloads
from hfhooks.samples import changes_of, edited
from hfhooks.sender import Endpoints, Request, Sent, choose, endpoint_path, post, send, verdicts
from hfhooks.state import RunningServer, find_server
from hfhooks.wire import REPLAY_HEADER, SECRET_HEADER
from hfhooks.worker.loading import find_targets

if TYPE_CHECKING:
    from hfhooks.gateway.records import Delivery, Records

Payloads = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PAYLOAD]...", help="JSON files, - for stdin, or ids of recorded deliveries."
    ),
]
Last = Annotated[int, typer.Option(metavar="NUMBER", min=0, help="The last so many deliveries.")]
Failed = Annotated[bool, typer.Option("--failed", help="All deliveries that failed for good.")]
To = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The endpoint; needed when several want the event."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another value, such as repo.name=me/x; null takes a key away.",
    ),
]
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
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Port = Annotated[int | None, typer.Option(help="The server on this port, when several run.")]

REPLAYED = {REPLAY_HEADER: "1"}
MOST = 10_000
"""Deliveries that are replayed at once."""
MANY = 10
"""Deliveries beyond which it is said how many there are still to come."""


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
      hfhooks replay --last 1
      hfhooks replay --failed --since 2h
      hfhooks replay payload.json --to trigger_training --set repo.name=me/x
      hfhooks replay payloads.jsonl --dry-run
      hfhooks replay payload.json --offline app.py
      curl -s https://example.com/payload.json | hfhooks replay -
    """
    if offline and url:
        raise UsageError("--offline and --url are two ways.")
    if not (payloads or last or failed or since):
        raise UsageError("nothing to replay: name a file or a delivery, or say --last 1.")
    edits = _edits(changes or [])
    named = [(name, None if _is_id(name) else read_payloads(name)) for name in payloads or []]
    needs_server = any(read is None for _, read in named) or last or failed or since
    server = find_server(port) if needs_server or not (offline or url) else None
    found: list[Exported] = []
    for name, read in named:
        assert read is not None or server
        found += [_recorded(server, int(name))] if read is None and server else read or []
    if server and (last or failed or since):
        found += _chosen(server, last, failed, since)
    if edits:
        found = [_edited(one, edits) for one in found]
    if offline:
        has_failed = _call_all(offline, found, to, dry_run, as_json)
    elif url:
        requests = [_plain(url, one) for one in found]
        has_failed = _shown((post(url, one, allow_remote) for one in requests), requests, as_json)
    else:
        assert server
        has_failed = _send_all(server, found, to, dry_run, as_json)
    raise typer.Exit(1 if has_failed else 0)


def _call_all(
    script: str, found: Sequence[Exported], to: str | None, dry_run: bool, as_json: bool
) -> bool:
    """Call handlers of a script in a worker of its own; tell whether one failed."""
    import asyncio

    from hfhooks.offline import loaded  # and what a server consists of

    async def call() -> bool:
        async with loaded(find_targets([script])) as handlers:
            if dry_run:
                _explain_all(handlers.described, found, to, as_json)
                return False
            has_failed = False
            for one in found:
                request = _request(handlers.described, one, to)
                sent = await handlers.call(request, json.loads(one.body))
                has_failed |= _shown([sent], [], as_json)
            return has_failed

    return asyncio.run(call())


def _send_all(
    server: RunningServer, found: Sequence[Exported], to: str | None, dry_run: bool, as_json: bool
) -> bool:
    """Send one after the other; tell whether a handler failed."""
    if dry_run:
        _explain_all(server.endpoints, found, to, as_json)
        return False
    requests = [_request(server.endpoints, one, to) for one in found]
    return _shown((send(server, one) for one in requests), requests, as_json)


def _shown(sent: Iterable[Sent], requests: Sequence[Request], as_json: bool) -> bool:
    """Show what becomes of each; tell whether a handler failed."""
    has_failed = False
    for number, one in enumerate(sent, 1):
        if number < len(requests) > MANY:
            progress(f"{number} of {len(requests)} replayed")
        has_failed |= one.has_failed
        if as_json:
            print_data(json.dumps(one.as_json()))
        else:
            print_sent(one)
    return has_failed


def _plain(url: str, one: Exported) -> Request:
    """Return a request as the Hub makes it."""
    secret = os.environ.get("WEBHOOK_SECRET")
    own = {SECRET_HEADER: secret.strip()} if secret else {}
    return Request(url, one.body, {**JSON, **dict(one.headers), **own})


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and not Path(name).exists()


def _recorded(server: RunningServer, id: int) -> Exported:
    """Return a delivery in the server's journal as it came."""
    with _records(server) as records:
        delivery = records.delivery(id)
    if delivery is None:
        raise HfhooksError(f"no delivery {id} is recorded.")
    return _exported(delivery)


def _chosen(server: RunningServer, last: int, failed: bool, since: str | None) -> list[Exported]:
    """Return the deliveries that options choose, the oldest first."""
    from hfhooks.gateway.records import Wanted

    status = "failed" if failed else None
    wanted = Wanted(status=status, since=since_when(since), limit=last or MOST)
    with _records(server) as records:
        found = [records.delivery(row.id) for row in records.summaries(wanted)[::-1]]
    if not found:
        print_note("no deliveries.")
    return [_exported(delivery) for delivery in found if delivery]


def _records(server: RunningServer) -> "Records":
    from hfhooks.gateway.records import Records

    return Records(Path(server.journal))


def _exported(delivery: "Delivery") -> Exported:
    return Exported(delivery.endpoint, delivery.body, delivery.headers, delivery.query)


def _edits(changes: Iterable[str]) -> dict[str, Any]:
    try:
        return changes_of(changes)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _edited(one: Exported, edits: dict[str, Any]) -> Exported:
    try:
        changed = edited(json.loads(one.body), edits)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return but(one, body=json.dumps(changed, ensure_ascii=False).encode())


def _request(endpoints: Endpoints, one: Exported, to: str | None) -> Request:
    name = to or one.endpoint
    path = endpoint_path(endpoints, name) if name else choose(endpoints, json.loads(one.body))
    target = path + (f"?{one.query}" if one.query else "")
    return Request(target, one.body, {**JSON, **dict(one.headers), **REPLAYED})


def _explain_all(
    endpoints: Endpoints, found: Iterable[Exported], to: str | None, as_json: bool
) -> None:
    """Say which endpoint would get a delivery, and why the others would not."""
    for one in found:
        said = verdicts(endpoints, json.loads(one.body))
        if name := to or one.endpoint:
            path = endpoint_path(endpoints, name)
            said = [(each, why) for each, why in said if f"/webhooks/{each}" == path]
        print_verdicts(said, as_json=as_json)


JSON = {"content-type": "application/json"}
