"""What happens, counted, in the words of Prometheus.

Counting is cheap and imports nothing; prometheus-client is imported when somebody asks.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from hfhooks.model.happenings import (
    Broken,
    Duplicate,
    Finished,
    Happening,
    Ignored,
    Refused,
    Reloaded,
)
from hfhooks.version import __version__

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Gauges", "Metrics", "rendered"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, inf)
"""Upper bounds, in seconds, of how long handlers take."""
DELIVERIES = "Times that deliveries have come to a status; those that retry come to another one."


class Gauges(NamedTuple):
    """What is now."""

    queue_length: int
    """Deliveries whose handlers have not finished."""
    has_worker: bool
    tunnel: str | None
    is_tunnel_up: bool
    long: Sequence[tuple[str, int, float]] = ()
    """Calls that have been going on for very long: endpoint, delivery, and how many seconds."""


@dataclass
class Durations:
    """A histogram of the calls of one handler."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yield each bound, with how many calls took no longer."""
        so_far = 0
        for bound, count in zip(BUCKETS, self.counts, strict=True):
            so_far += count
            yield "+Inf" if bound == inf else str(bound), so_far


class Metrics:
    """Counts what happens."""

    def __init__(self) -> None:
        self.deliveries: Counter[tuple[str, str]] = Counter()
        """By endpoint and status."""
        self.refusals: Counter[str] = Counter()
        """By HTTP status."""
        self.reloads: Counter[str] = Counter()
        """By whether the new version runs: `true` or `false`."""
        self.durations: defaultdict[str, Durations] = defaultdict(Durations)
        """By endpoint."""

    def __call__(self, happening: Happening) -> None:
        match happening:
            case Finished(delivery=delivery, attempt=attempt, status=status, is_amended=is_amended):
                self.deliveries[delivery.endpoint, status] += 1
                if not is_amended:
                    self.durations[delivery.endpoint].add(attempt.duration)
            case Ignored(delivery=delivery):
                self.deliveries[delivery.endpoint, "ignored"] += 1
            case Duplicate(delivery=delivery):
                self.deliveries[delivery.endpoint, "duplicate"] += 1
            case Refused(status=status):
                self.refusals[str(status)] += 1
            case Reloaded():
                self.reloads["true"] += 1
            case Broken():
                self.reloads["false"] += 1


def rendered(metrics: Metrics, gauges: Gauges) -> tuple[bytes, str]:
    """Return everything as Prometheus reads it, with its media type."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(metrics, gauges))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, metrics: Metrics, gauges: Gauges) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client import core

        yield from self._counters(core)
        seconds = core.HistogramMetricFamily(
            "hfhooks_handler_seconds", "How long calls of handlers took.", labels=["endpoint"]
        )
        for endpoint, durations in list(self._metrics.durations.items()):
            seconds.add_metric([endpoint], list(durations.buckets()), durations.total)
        yield seconds
        yield from self._now(core)

    def _counters(self, core: Any) -> "Iterator[Metric]":
        metrics = self._metrics
        for name, help, labels, counts in (
            (
                "deliveries",
                "Deliveries that have reached a status; retrying ones reach another later.",
                ("endpoint", "status"),
                metrics.deliveries,
            ),
            ("refused_requests", "Requests that no endpoint took.", ("status",), metrics.refusals),
            (
                "reloads",
                "New versions of the scripts, and whether they run.",
                ("ok",),
                metrics.reloads,
            ),
        ):
            family = core.CounterMetricFamily(f"hfhooks_{name}", help, labels=labels)
            for values, count in list(counts.items()):
                family.add_metric([values] if isinstance(values, str) else values, count)
            yield family

    def _now(self, core: Any) -> "Iterator[Metric]":
        gauges = self._gauges
        version = core.GaugeMetricFamily("hfhooks_info", "This hfhooks.", labels=["version"])
        version.add_metric([__version__], 1)
        yield version
        for name, help, value in (
            ("queue_length", "Deliveries whose handlers have not finished.", gauges.queue_length),
            ("worker_up", "Whether handlers can run.", gauges.has_worker),
        ):
            yield core.GaugeMetricFamily(f"hfhooks_{name}", help, value=float(value))
        if gauges.long:
            family = core.GaugeMetricFamily(
                "hfhooks_long_handler_seconds",
                "How long a handler has been running, once that is ten minutes.",
                labels=["endpoint", "delivery"],
            )
            for endpoint, id, seconds in gauges.long:
                family.add_metric([endpoint, str(id)], seconds)
            yield family
        if gauges.tunnel:
            family = core.GaugeMetricFamily(
                "hfhooks_tunnel_up", "Whether the public URL leads here.", labels=["tunnel"]
            )
            family.add_metric([gauges.tunnel], float(gauges.is_tunnel_up))
            yield family
