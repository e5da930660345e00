"""What was measured, for people and for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from tests.benchmarks.contenders import BASELINE, BEFORE, NOW
from tests.benchmarks.table import Goal, Results

__all__ = ["as_json", "details", "goals"]

TITLE = f"{'':<40}{'the peer':>11}{'before':>11}{'ratio':>8}{'now':>11}{'ratio':>8}"


def details(results: Results) -> Iterator[str]:
    """Yield the lines of one row: each contender's median, quartiles, and what belongs to it."""
    row = results.row
    yield f"\n{row.name}"
    for name, turns in results.numbers.items():
        parts = []
        for number in turns[0]:
            values = results.values(name, number)
            if number == "value":
                parts.append(spread(values) + row.unit.rjust(4))
                if name != BASELINE and (ratios := results.values(name, peer=BASELINE)):
                    parts.append(f"{spread(ratios)} x FastAPI")
            elif any(values):
                parts.append(f"{number} {short(median(values))}")
        yield f"  {name:<20} " + "; ".join(parts)


def spread(values: Sequence[float]) -> str:
    """Return the median, and the quartiles."""
    if len(values) < 2:
        return short(values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{short(median(values))} ({short(low)}-{short(high)})"


def short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goals(table: Sequence[Results]) -> Iterator[str]:
    """Yield the lines that hold all rows against their goals."""
    yield f"\n{TITLE}   goal"
    for results in table:
        for goal in results.row.goals:
            if results.median(NOW, goal.number) is not None:
                yield against(results, goal)


def against(results: Results, goal: Goal) -> str:
    number, peer = goal.number, goal.peer
    what = results.row.name + (f": {number}" if number != "value" else "")
    cells = [short(results.median(peer, number)) if peer else ""]
    for name in (BEFORE, NOW):
        cells.append(short(results.median(name, number)))
        cells.append(short(results.median(name, number, peer)) if peer else "")
    line = f"{what:<40}{cells[0]:>11}{cells[1]:>11}{cells[2]:>8}{cells[3]:>11}{cells[4]:>8}"
    reached = results.median(NOW, number, peer)
    unit = f" of {peer}" if peer not in (BASELINE, None) else "" if peer else f" {goal.unit}"
    verdict = "-" if reached is None else "yes" if goal.is_reached_by(reached) else "no"
    return f"{line}   {goal.sign} {goal.limit:g}{unit}: {verdict}"


def as_json(about: Mapping[str, Any], table: Sequence[Results]) -> str:
    """Return all numbers of all turns."""
    rows = [
        {"name": each.row.name, "unit": each.row.unit, "contenders": each.numbers} for each in table
    ]
    return json.dumps({**about, "rows": rows}, indent=1)
