"""`hfhooks deliveries show`: all that is known of one."""

import json
from typing import Annotated

import typer

from hfhooks.cli.commands.deliveries.records import Id, Port, Script, opened, recorded
from hfhooks.console.text import print_delivery, write_data
from hfhooks.model.exported import Exported

Payload = Annotated[
    bool, typer.Option("--payload", help="The payload alone, byte for byte as it came.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]


def show(
    id: Id,
    payload: Payload = False,
    as_json: AsJson = False,
    port: Port = None,
    script: Script = None,
) -> None:
    """Show a delivery: its payload, and every attempt with its answer or traceback.

    \b
    Examples:
      hfhooks deliveries show 17
      hfhooks deliveries show 17 --payload > payload.json
    """
    with opened(port, script) as records:
        delivery, attempts = recorded(records, id), records.attempts(id)
    if payload:
        write_data(delivery.body)
    elif as_json:
        exported = Exported.of(delivery)
        rows = [
            {**vars(attempt), "answer": attempt.answer.decode(errors="replace")}
            for attempt in attempts
        ]
        known = {"id": id, "status": delivery.status, "event": delivery.event}
        known |= {"repo": delivery.repo, "replay": delivery.is_replay}
        write_data(json.dumps({**known, **exported.as_json(), "attempts": rows}).encode() + b"\n")
    else:
        print_delivery(delivery, attempts)
