"""`hfhooks deliveries export`: one, for another machine or a test."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hfhooks.cli.commands.deliveries.records import (
    Id,
    Port,
    Script,
    journal_path,
    opened,
    recorded,
    script_of,
)
from hfhooks.console.text import write_data
from hfhooks.errors import UsageError
from hfhooks.model.exported import Exported
from hfhooks.serving.announce import running_servers

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
    with opened(port, script) as records:
        delivery = recorded(records, id)
    exported = Exported.of(delivery)
    try:
        if as_curl:
            here = journal_path(port, script)
            urls = [each.local_url for each in running_servers() if Path(each.journal) == here]
            base = urls[0] if urls else LOCAL_URL
            text = exported.as_curl(f"{base}/webhooks/{delivery.endpoint}")
        elif as_test:
            text = exported.as_test(id, script_of(journal_path(port, script))).rstrip()
        else:
            text = json.dumps(exported.as_json(), indent=2)
    except ValueError as error:
        raise UsageError(f"delivery {id}: {error}") from error
    write_data(text.encode("utf-8", "surrogateescape") + b"\n")
