"""The endpoints of the last good version of the scripts, for a start at which they are broken."""

import json
from collections.abc import Iterable
from pathlib import Path

from hfhooks.model.endpoint import Endpoint
from hfhooks.private import write_private

__all__ = ["known", "recall", "remember"]

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
    wanted = (NONE, secrets and ENVIRONMENT)
    return [
        Endpoint.from_json({**endpoint.as_json(), "secrets": secrets})
        for endpoint, whose in _kept(folder)
        if whose in wanted
    ]


def known(folder: Path) -> list[Endpoint]:
    """Return all endpoints that were kept, without their secrets."""
    return [endpoint for endpoint, _ in _kept(folder)]


def _kept(folder: Path) -> list[tuple[Endpoint, str]]:
    """Return the endpoints that were kept, each with whose secrets it has."""
    try:
        rows = json.loads((folder / FILE).read_text())
        return [(Endpoint.from_json({**row, "secrets": ()}), row["secrets"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _whose(own: tuple[str, ...], of_the_environment: tuple[str, ...]) -> str:
    if not own:
        return NONE
    return ENVIRONMENT if own == of_the_environment else OWN
