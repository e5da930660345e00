"""`hfhooks print-urls`: where the running server can be reached."""

import json
from typing import Annotated

import typer

from hfhooks.cli.options import Port
from hfhooks.console.output import print_data, print_note
from hfhooks.console.terminal import safe
from hfhooks.serving.owner import find_server

Local = Annotated[bool, typer.Option("--local", help="The URLs on this machine.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, as in the ready line.")]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Wait that long for a server to be ready.")
]

LONGEST = 4096
"""Characters of a URL."""


def print_urls(
    local: Local = False, as_json: AsJson = False, port: Port = None, wait: Wait = 0
) -> None:
    """Print the URL of every endpoint of the running server, one a line.

    \b
    Examples:
      hfhooks print-urls
      hfhooks serve app.py & hfhooks print-urls --wait 10
      hfhooks print-urls --json | jq -r .endpoints[0].url
    """
    server = find_server(port, wait)
    if as_json:
        from hfhooks.model import views  # with what all commands show

        print_data(json.dumps(views.server(server)))
        return
    if not (server.is_public or local):
        print_note("no tunnel is open: these URLs work on this machine only.")
    elif not (server.is_up or local):
        print_note("the tunnel is down: nothing arrives by these URLs for now.")
    base = server.local_url if local else server.url
    for each in server.endpoints:
        print_data(safe(base + each.endpoint.path, LONGEST))
