"""The table: what is measured of whom, and how much is wanted."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from tests.benchmarks import growth, measures
from tests.benchmarks.contenders import (
    BASELINE,
    BEFORE,
    DISK,
    ECHO,
    GRADIO,
    NOW,
    PEERS,
    REQUEST,
    Contender,
)
from tests.benchmarks.load import Failure
from tests.benchmarks.machine import ALL_CORES, SERVER_CORE
from tests.benchmarks.measures import Measure, Numbers, Scale

__all__ = ["Goal", "Results", "Row", "play", "rows"]

OURS = (NOW, BEFORE)
SAME = (BASELINE, *OURS)
ALL = (*SAME, *(peer.name for peer in PEERS))


@dataclass(frozen=True)
class Goal:
    """How much is wanted of one number: of it, or of its ratio to another contender's."""

    sign: str
    limit: float
    peer: str | None = BASELINE
    number: str = "value"
    unit: str = "ms"

    def is_reached_by(self, value: float) -> bool:
        return value >= self.limit if self.sign == "≥" else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One measure of some contenders, who take turns."""

    name: str
    measure: Measure
    names: Sequence[str]
    goals: Sequence[Goal] = ()
    unit: str = "ms"


@dataclass(frozen=True)
class Results:
    """The numbers of each contender, by turn."""

    row: Row
    numbers: dict[str, list[Numbers]]

    @property
    def failed(self) -> dict[str, int]:
        """Return how many requests were not answered with a 2xx, by whom."""
        sums = {
            name: int(sum(each.get("failed", 0) for each in own))
            for name, own in self.numbers.items()
        }
        return {name: number for name, number in sums.items() if number}

    def values(self, name: str, number: str = "value", peer: str | None = None) -> list[float]:
        """Return one number of each turn, or its ratio to a peer's in the same turn."""
        own = [numbers[number] for numbers in self.numbers.get(name, [])]
        if peer is None:
            return own
        return [a / b for a, b in zip(own, self.values(peer, number), strict=False) if b]


def play(
    row: Row, contenders: Sequence[Contender], rounds: int, uncounted: int = 1
) -> tuple[Results, list[str]]:
    """Measure the contenders in turns, in an order that alternates; return what went wrong, too."""
    results: dict[str, list[Numbers]] = {}
    errors = []
    with ExitStack() as stack:
        turns = {
            each.name: stack.enter_context(closing(row.measure(each)))
            for each in contenders
            if each.name in row.names
        }
        for number in range(-uncounted, rounds):
            for name in list(turns) if number % 2 else [*turns][::-1]:
                try:
                    numbers = next(turns[name])
                except Failure as failure:
                    errors.append(f"{row.name}: {failure}")
                    del turns[name]
                    continue
                if number >= 0:
                    results.setdefault(name, []).append(numbers)
    order = [each.name for each in contenders if each.name in results]
    return Results(row, {name: results[name] for name in order}), errors


def rows(scale: Scale) -> list[Row]:
    """Return the table."""
    return [*of_results(scale), *of_starts(scale), *of_saves(scale), *of_growth(scale)]


def of_results(scale: Scale) -> list[Row]:
    def of(connections: int, limit: float) -> Row:
        name = f"results, {connections} connection{'s' if connections > 1 else ''}"
        measure = measures.results(scale, connections)
        return Row(name, measure, (*ALL, ECHO), [Goal("≥", limit)], "/s")

    def of_body(what: str, size: int, limit: float) -> Row:
        measure = measures.results(scale, 4, body=measures.body_of(size))
        return Row(f"results, bodies of {what}, 4", measure, SAME, [Goal("≥", limit)], "/s")

    through_fastapi = measures.results(scale, 16, REQUEST)
    return [
        of(64, 2.3),
        of(16, 1.7),
        of(1, 0.4),
        Row("results with Request, Depends, 16", through_fastapi, SAME, [Goal("≥", 1)], "/s"),
        of_body("100 KB", 100_000, 0.7),
        of_body("1 MB", 1_000_000, 0.5),
        Row("1 KB added and synced", measures.syncs(scale), [DISK], unit="/s"),
    ]


def of_starts(scale: Scale) -> list[Row]:
    on_one = measures.starts(SERVER_CORE)
    goals = [Goal("≤", 150, None, name) for name in measures.COMMANDS]
    return [
        Row(
            "start to first 200, two cores",
            measures.starts(ALL_CORES),
            ALL,
            [Goal("≤", 1.0), Goal("≤", 0.2, GRADIO)],
        ),
        Row("start to first 200, one core", on_one, SAME, [Goal("≤", 1.2)]),
        *(of_memory(scale) if sys.platform == "linux" else []),
        Row("commands", measures.commands, OURS, goals),
    ]


def of_memory(scale: Scale) -> list[Row]:
    def of(name: str, limit: float, *, reload: bool) -> Row:
        measure, goals = measures.memory(scale, reload=reload), [Goal("≤", limit, GRADIO)]
        return Row(f"memory {name} reload", measure, (*SAME, GRADIO), goals, "MiB")

    return [of("without", 0.6, reload=False), of("with", 0.8, reload=True)]


def of_saves(scale: Scale) -> list[Row]:
    under_load = measures.saves(scale, measures.RATE)
    goals = [Goal("≤", 30, None), Goal("≤", 0.1)]
    return [
        Row("save to new code", measures.saves(scale), SAME, goals),
        Row(f"save to new code, {measures.RATE} requests/s", under_load, SAME, goals),
    ]


def of_growth(scale: Scale) -> list[Row]:
    def goals(limit: float, *numbers: str) -> list[Goal]:
        return [Goal("≤", limit, None, number, "times") for number in numbers]

    return [
        Row("every handler blocked", growth.blocked(scale), OURS, goals(1.5, "p99"), "times"),
        Row(
            f"{scale.unfinished:,} unfinished",
            growth.unfinished(scale),
            OURS,
            goals(1.2, "start", "p50"),
            "times",
        ),
        Row(
            f"{scale.endpoints:,} endpoints",
            growth.many_endpoints(scale),
            OURS,
            goals(1.2, "value"),
            "times",
        ),
        Row(
            f"{scale.blocked} slow handlers beside",
            growth.beside_slow(scale),
            OURS,
            goals(1.2, "value"),
            "times",
        ),
        Row(
            f"{scale.stored:,} stored",
            growth.stored(scale),
            OURS,
            goals(1.2, "p50", "p99"),
            "times",
        ),
    ]
