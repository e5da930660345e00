"""`hfhooks explain`: why an endpoint got an event, or did not."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hfhooks.commands.deliveries.records import Port, Script, opened, recorded
from hfhooks.console import print_verdicts
from hfhooks.payload_files import read_payloads
from hfhooks.sender import verdicts
from hfhooks.state import find_server

Payload = Annotated[
    str, typer.Argument(metavar="PAYLOAD|ID", help="A JSON file, - for stdin, or a delivery's id.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


def explain(
    payload: Payload, as_json: AsJson = False, port: Port = None, script: Script = None
) -> None:
    """Say for every endpoint of the running server whether it wants an event, and if not why.

    \b
    Examples:
      hfhooks explain 17
      hfhooks explain payload.json
      hfhooks trigger repo.content:update --save - | hfhooks explain -
    """
    server = find_server(port)
    if payload.isdecimal() and not Path(payload).exists():
        with opened(port, script) as records:
            bodies = [recorded(records, int(payload)).body]
    else:
        bodies = [one.body for one in read_payloads(payload)]
    for body in bodies:
        print_verdicts(verdicts(server.endpoints, json.loads(body)), as_json=as_json)
