"""`hfhooks explain`: why an endpoint got an event, or did not."""

from typing import Annotated

import typer

from hfhooks.cli.commands.deliveries.records import Port, Script, journal_path, named, server_if_any
from hfhooks.cli.completion import delivery_ids
from hfhooks.console.text import print_verdicts, progress
from hfhooks.errors import StartError
from hfhooks.serving.sender import Endpoints, verdicts

Payload = Annotated[
    str,
    typer.Argument(
        metavar="PAYLOAD|ID",
        help="A JSON file, - for stdin, or a delivery's id.",
        autocompletion=delivery_ids,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


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
        from hfhooks.worker.loading import find_targets

        with progress(f"loading {script} …"):
            return endpoints_of(find_targets([script]))
    if server := server_if_any(port):
        return server.endpoints
    from hfhooks.journal.sqlite.memory import known

    try:
        folder = journal_path(port, script).parent
    except StartError as error:
        raise StartError("no server is running.", "Name a script: --script app.py") from error
    return [endpoint.described() for endpoint in known(folder)]
