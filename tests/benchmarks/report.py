"""What was measured, for people and for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from tests.benchmarks.contenders import BASELINE, BEFORE, NOW
from tests.benchmarks.table import Goal, Results

__all__ = ["as_json", "details", "goals"]

LINE = "{:<40}{:>9}{:>9}{:>7}{:>21}{:>18}   {}"


def details(results: Results) -> Iterator[str]:
    """Yield the lines of one row: each contender's median, quartiles, and what belongs to it."""
    row = results.row
    wanted = {goal.number for goal in row.goals}
    yield f"\n{row.name}"
    for name, turns in results.numbers.items():
        parts = []
        for number in turns[0]:
            values = results.values(name, number)
            if number == "value":
                parts.append(f"{spread(values)} {row.unit}")
                if name != BASELINE and (ratios := results.values(name, peer=BASELINE)):
                    parts.append(f"{spread(ratios)} x {BASELINE}")
            elif any(values):
                parts.append(f"{number} {spread(values) if number in wanted else middle(values)}")
        yield f"  {name:<20} " + "; ".join(parts)


def middle(values: Sequence[float]) -> str:
    return short(median(values)) if values else "-"


def spread(values: Sequence[float]) -> str:
    """Return the median, and the quartiles."""
    if len(values) < 2:
        return "".join(map(short, values)) or "-"
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{short(median(values))} ({short(low)}-{short(high)})"


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goals(table: Sequence[Results]) -> Iterator[str]:
    """Yield the lines that hold all rows against their goals."""
    yield "\n" + LINE.format("", "the peer", "before", "ratio", "now", "ratio", "goal")
    for results in table:
        for goal in results.row.goals:
            if results.values(NOW, goal.number):
                yield against(results, goal)


def against(results: Results, goal: Goal) -> str:
    number, peer = goal.number, goal.peer
    what = results.row.name + (f": {number}" if number != "value" else "")
    own = results.values(NOW, number, peer)
    verdict = "-" if not own else "yes" if goal.is_reached_by(median(own)) else "no"
    unit = f" of {peer}" if peer not in (BASELINE, None) else "" if peer else f" {goal.unit}"
    return LINE.format(
        what,
        middle(results.values(peer, number)) if peer else "",
        middle(results.values(BEFORE, number)),
        middle(results.values(BEFORE, number, peer)) if peer else "",
        spread(results.values(NOW, number)),
        spread(own) if peer else "",
        f"{goal.sign} {goal.limit:g}{unit}: {verdict}",
    )


def as_json(about: Mapping[str, Any], table: Sequence[Results]) -> str:
    """Return all numbers of all turns."""
    rows = [
        {"name": each.row.name, "unit": each.row.unit, "contenders": each.numbers} for each in table
    ]
    return json.dumps({**about, "rows": rows}, indent=1)
