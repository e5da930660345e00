"""What commands show of deliveries, endpoints and checks: tables, or JSON for programs."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

from hfhooks.console.output import print_data
from hfhooks.console.terminal import COLOURS, Screen, milliseconds, safe
from hfhooks.model import views
from hfhooks.model.delivery import Attempt, Recorded, Summary

__all__ = ["Check", "print_checks", "print_deliveries", "print_delivery", "print_verdicts"]

OUTCOMES = {
    "ok": ("succeeded", "green"),
    "warning": ("retrying", "yellow"),
    "error": ("failed", "red"),
}
"""What checks come to, with the mark and the colour of each."""
ATTEMPT_COLOURS = {"succeeded": "green", "interrupted": "yellow", "cancelled": ""}
"""Of what attempts come to; all else is a failure."""
COLUMNS = {
    "id": 4,
    "received": 14,
    "status": 11,
    "http": 4,
    "attempts": 8,
    "took": 7,
    "endpoint": 12,
    "event": 19,
    "repo": 0,
    "": 0,
}
"""The columns of `deliveries`, and how many characters each has at least."""


@dataclass(frozen=True)
class Check:
    """Something that was looked at."""

    status: str
    """`ok`, `warning` or `error`."""
    name: str
    text: str
    help: str | None = None
    """What to do about it."""


def print_checks(checks: Iterable[Check]) -> None:
    """Print what was found on stdout, with what to do about it."""
    screen = Screen(sys.stdout, is_data=True)
    for check in checks:
        outcome, colour = OUTCOMES[check.status]
        mark = f"{screen.marks[outcome]} {check.status:<8}"
        screen.line((mark, colour), f"{check.name:<9} {safe(check.text, 1000)}")
        if check.help:
            screen.line((f"{'':<20} {safe(check.help, 1000)}", "cyan"))


def print_verdicts(verdicts: Sequence[tuple[str, str | None]], *, as_json: bool = False) -> None:
    """Print for each endpoint whether it wants an event, and if not why, on stdout."""
    screen = Screen(sys.stdout, is_data=True)
    for endpoint, why in verdicts:
        if as_json:
            print_data(json.dumps({"endpoint": endpoint, "wants": why is None, "reason": why}))
            continue
        status = "ignored" if why else "succeeded"
        mark = (screen.marks[status], COLOURS.get(status, ""))
        screen.line(mark, f" {safe(endpoint)}  {safe(why or 'wants it', 1000)}")


def print_deliveries(
    rows: Sequence[Summary],
    *,
    as_json: bool = False,
    has_head: bool = True,
    running: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Print a line for each delivery on stdout, below the names of the columns.

    `running` has a delivery of each endpoint whose handler runs: others may wait for its end.
    """
    if as_json:
        for row in rows:
            print_data(json.dumps(views.delivery(row)))
        return
    screen = Screen(sys.stdout, is_data=True)
    cells = [_cells(row, screen.marks[row.status], running) for row in rows]
    columns = zip(COLUMNS.values(), *cells, strict=True)
    widths = [max([least, *map(len, column)]) for least, *column in columns]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    if rows and has_head:
        head = "  ".join(name.ljust(width) for name, width in zip(COLUMNS, widths, strict=True))
        screen.line((head.rstrip(), "dim"))
    for row, (id, received, status, *rest) in zip(rows, padded, strict=True):
        coloured = (status, COLOURS.get(row.status, ""))
        screen.line(f"{id}  {received}  ", coloured, f"  {'  '.join(rest)}".rstrip())


def _cells(row: Summary, mark: str, running: Mapping[str, int]) -> list[str]:
    remark = "replay" if row.origin == "replay" else ""
    if row.status == "queued" and row.endpoint in running:
        remark = f"{remark} waits, #{running[row.endpoint]} runs".lstrip()
    return [
        str(row.id),
        time.strftime("%m-%d %H:%M:%S", time.localtime(row.received_at)),
        f"{mark} {row.status}",
        str(row.http_status or ""),
        str(row.attempt_count),
        "" if row.duration is None else milliseconds(row.duration),
        safe(row.endpoint),
        safe(row.event or ""),
        safe(row.repo or ""),
        remark,
    ]


def print_delivery(delivery: Recorded, attempts: Sequence[Attempt]) -> None:
    """Print all that is known of a delivery on stdout."""
    screen = Screen(sys.stdout, is_data=True)
    say = screen.line
    status = (
        f"{screen.marks[delivery.status]} {delivery.status}",
        COLOURS.get(delivery.status, ""),
    )
    what = f"  {delivery.endpoint}  {delivery.event or 'unknown event'}  {delivery.repo or ''}"
    say((f"#{delivery.id}  ", "bold"), status, safe(what.rstrip()))
    say(
        ("received  ", "dim"),
        _when(delivery.received_at),
        "  replay" if delivery.origin == "replay" else "",
    )
    if delivery.query:
        say(("query  ", "dim"), safe(delivery.query, 1000))
    for name, value in delivery.headers:
        say((f"{safe(name)}  ", "dim"), safe(value, 1000))
    say()
    for line in _readable(delivery.body, screen.is_terminal).splitlines():
        say(safe(line, 10_000))
    # What several attempts in a row have come to stands once, below the last of them.
    for text, alike in groupby(attempts, _text_of):
        say()
        for attempt in alike:
            answer = "" if attempt.http_status is None else f" {attempt.http_status}"
            status = (f"{attempt.status}{answer}", ATTEMPT_COLOURS.get(attempt.status, "red"))
            took = f"  {milliseconds(attempt.duration)}  {_when(attempt.started_at)}"
            say((f"attempt {attempt.number}  ", "bold"), status, took)
        for line in text.splitlines():
            say("    ", safe(line, 1000))


def _text_of(attempt: Attempt) -> str:
    return attempt.error or attempt.answer.decode(errors="replace")


def _readable(payload: bytes, is_indented: bool) -> str:
    text = payload.decode(errors="replace")
    if is_indented:
        with suppress(ValueError, RecursionError):
            return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return text


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
