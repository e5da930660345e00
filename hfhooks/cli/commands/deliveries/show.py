"""`hfhooks deliveries show`: all that is known of one."""

import json
from typing import Annotated

import typer

from hfhooks.cli.journals import now, opened, recorded
from hfhooks.cli.options import Id, Port, Script
from hfhooks.console.output import write_data
from hfhooks.console.tables import print_delivery
from hfhooks.model import views
from hfhooks.model.delivery import Wanted

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
    with opened(port, script) as journal:
        delivery, attempts = recorded(journal, id), now(journal.attempts(id))
        summaries = now(journal.list(Wanted(ids=[id])))
    if payload:
        write_data(delivery.body)
    elif as_json:
        rows = [views.delivery(each) | views.content(delivery, attempts) for each in summaries]
        write_data(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    else:
        print_delivery(delivery, attempts)
