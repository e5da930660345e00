"""`hfhooks deliveries export`: one, for another machine or a test."""

import json
from typing import Annotated

import typer

from hfhooks.cli.journals import journal_url, reading, recorded, script_of
from hfhooks.cli.options import Id, Port, Script
from hfhooks.console.output import write_data
from hfhooks.errors import UsageError
from hfhooks.model import views
from hfhooks.model.exported import Exported
from hfhooks.serving.owner import running_servers

AsCurl = Annotated[bool, typer.Option("--curl", help="As a curl command.")]
AsTest = Annotated[bool, typer.Option("--pytest", help="As a regression test for pytest.")]
LOCAL_URL = "http://127.0.0.1:7860"


def export(
    id: Id,
    as_curl: AsCurl = False,
    as_test: AsTest = False,
    port: Port = None,
    script: Script = None,
) -> None:
    """Print a delivery as a file that `hfhooks replay` sends again, byte for byte.

    The secret is in none of them: it is never recorded.

    \b
    Examples:
      hfhooks deliveries export 17 > delivery.json
      hfhooks deliveries export 17 --curl
      hfhooks deliveries export 17 --pytest > test_delivery_17.py
    """
    if as_curl and as_test:
        raise UsageError("--curl and --pytest are two things.")
    url = journal_url(port, script)
    with reading(url) as journal:
        delivery = recorded(journal, id)
    exported = Exported.of(delivery)
    try:
        if as_curl:
            local = [each.local_url for each in running_servers() if each.journal == url]
            base = local[0] if local else LOCAL_URL
            text = exported.as_curl(f"{base}/webhooks/{delivery.endpoint}")
        elif as_test:
            text = exported.as_test(id, script_of(url)).rstrip()
        else:
            text = json.dumps(views.exported(exported), indent=2)
    except ValueError as error:
        raise UsageError(f"delivery {id}: {error}") from error
    write_data(text.encode("utf-8", "surrogateescape") + b"\n")
