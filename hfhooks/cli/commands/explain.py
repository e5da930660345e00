"""`hfhooks explain`: why an endpoint got an event, or did not."""

from typing import Annotated

import typer

from hfhooks.cli.completion import delivery_ids
from hfhooks.cli.journals import named, now, opened, server_if_any
from hfhooks.cli.options import AsJson, Port, Script
from hfhooks.console.output import progress
from hfhooks.console.tables import print_verdicts
from hfhooks.errors import StartError
from hfhooks.model.sending import Endpoints, verdicts

Payload = Annotated[
    str,
    typer.Argument(
        metavar="PAYLOAD|ID",
        help="A JSON file, - for stdin, or a delivery's id.",
        autocompletion=delivery_ids,
    ),
]


def explain(
    payload: Payload, as_json: AsJson = False, port: Port = None, script: Script = None
) -> None:
    """Say for every endpoint whether it wants an event, and if not why.

    The endpoints are those of the running server; with --script those of a script as it is now,
    without either those that were served last.

    \b
    Examples:
      hfhooks explain 17
      hfhooks explain payload.json --script app.py
      hfhooks trigger repo.content:update --save - | hfhooks explain -
    """
    endpoints = _endpoints(port, script)
    for one in named(payload, port, script):
        print_verdicts(verdicts(endpoints, one.payload), as_json=as_json)


def _endpoints(port: int | None, script: str | None) -> Endpoints:
    if script is not None:
        from hfhooks.serving.offline import endpoints_of
        from hfhooks.supervisor.targets import find_targets

        with progress(f"loading {script} …"):
            return endpoints_of(find_targets([script]))
    if server := server_if_any(port):
        return [each.endpoint for each in server.endpoints]
    try:
        with opened(port) as journal:
            return [each.endpoint for each in now(journal.endpoints())]
    except StartError as error:
        raise StartError("no server is running.", "Name a script: --script app.py") from error
