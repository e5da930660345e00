"""The endpoints of the last good version of the scripts, for a start at which they are broken."""

import json
from collections.abc import Iterable
from pathlib import Path

from hfhooks.endpoints import Endpoint
from hfhooks.state import write_private

__all__ = ["recall", "remember"]

FILE = "endpoints.json"
NONE, ENVIRONMENT, OWN = "", "environment", "own"
"""Whose secrets an endpoint has."""


def remember(folder: Path, endpoints: Iterable[Endpoint], secrets: tuple[str, ...]) -> None:
    """Keep the endpoints in the journal's folder.

    Their secrets are not kept, only whose they are: `secrets` are those of the environment.
    """
    rows = [
        {**endpoint.as_json(), "secrets": _whose(endpoint.secrets, secrets)}
        for endpoint in endpoints
    ]
    write_private(folder / FILE, rows)


def recall(folder: Path, secrets: tuple[str, ...]) -> list[Endpoint]:
    """Return the endpoints that were kept, but for those with a secret that is not known now.

    `secrets` are those of the environment, and let senders in to all of them.
    """
    try:
        rows = json.loads((folder / FILE).read_text())
        known = [row for row in rows if row["secrets"] in (NONE, secrets and ENVIRONMENT)]
        return [Endpoint.from_json({**row, "secrets": secrets}) for row in known]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _whose(own: tuple[str, ...], of_the_environment: tuple[str, ...]) -> str:
    if not own:
        return NONE
    return ENVIRONMENT if own == of_the_environment else OWN
