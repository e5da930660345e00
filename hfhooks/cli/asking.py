"""Questions to a person before much is done."""

import sys

import typer

from hfhooks.errors import UsageError

__all__ = ["ask"]


def ask(question: str, reason: str, help: str = "If that is meant: --yes") -> None:
    """Go on only if a person says so. Raises `UsageError` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError(reason, help)
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
