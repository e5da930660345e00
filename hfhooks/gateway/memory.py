"""The endpoints of the last good version of the scripts, for a start at which they are broken."""

import json
from collections.abc import Iterable
from pathlib import Path

from hfhooks.endpoints import Endpoint
from hfhooks.state import write_private

__all__ = ["recall", "remember"]

FILE = "endpoints.json"
ENVIRONMENT, OWN = "environment", "own"
"""Whose secret an endpoint has."""


def remember(folder: Path, endpoints: Iterable[Endpoint], secret: str | None) -> None:
    """Keep the endpoints in the journal's folder.

    Their secrets are not kept, only whose they are: `secret` is that of the environment.
    """
    rows = [
        {**endpoint.as_json(), "secret": endpoint.secret and _whose(endpoint.secret, secret)}
        for endpoint in endpoints
    ]
    write_private(folder / FILE, rows)


def recall(folder: Path, secret: str | None) -> list[Endpoint]:
    """Return the endpoints that were kept, but for those with a secret that is not known now."""
    try:
        rows = json.loads((folder / FILE).read_text())
        known = [row for row in rows if row["secret"] is None or (secret and row["secret"] != OWN)]
        return [Endpoint.from_json({**row, "secret": secret}) for row in known]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _whose(own: str, of_the_environment: str | None) -> str:
    return ENVIRONMENT if own == of_the_environment else OWN
