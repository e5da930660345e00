"""What is counted, and how Prometheus reads it."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hfhooks.errors import LoadError
from hfhooks.inspector.metrics import Gauges, Metrics, rendered
from hfhooks.model.delivery import Attempt
from hfhooks.model.happenings import (
    Broken,
    Duplicate,
    Finished,
    Full,
    Ignored,
    Refused,
    Reloaded,
)
from tests.console.examples import DELIVERY, SERVER

NOW = Gauges(3, has_worker=True, tunnel="ngrok", is_tunnel_up=False)
Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: str) -> Samples:
    """Return the values by name and labels' values."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(metrics: Metrics, gauges: Gauges = NOW) -> Samples:
    return samples(rendered(metrics, gauges)[0].decode())


def finished(status: str, duration: float, **values: Any) -> Finished:
    return Finished(1, DELIVERY, Attempt(1, 0.0, duration, status), status, **values)


def test_everything_is_counted() -> None:
    metrics = Metrics()
    for happening in (
        finished("succeeded", 0.004),
        finished("retrying", 0.3),
        finished("failed", 1000.0),
        Ignored(1, DELIVERY, "why"),
        Duplicate(1, DELIVERY),
        Refused("/webhooks/train", 401, "unauthorized"),
        Full("no room"),
        Reloaded(0.1, SERVER),
        Broken(LoadError("no"), has_worker=True),
        Reloaded(0.1, SERVER),
    ):
        metrics(happening)
    found = read(metrics)
    for status in ("succeeded", "retrying", "failed", "ignored", "duplicate"):
        assert found["hfhooks_deliveries_total", ("train", status)] == 1
    assert found["hfhooks_refused_requests_total", ("401",)] == 1
    assert found["hfhooks_reloads_total", ("true",)] == 2
    assert found["hfhooks_reloads_total", ("false",)] == 1
    assert found["hfhooks_handler_seconds_bucket", ("train", "0.005")] == 1
    assert found["hfhooks_handler_seconds_bucket", ("train", "0.5")] == 2
    assert found["hfhooks_handler_seconds_bucket", ("train", "+Inf")] == 3
    assert found["hfhooks_handler_seconds_sum", ("train",)] == pytest.approx(1000.304)


def test_what_fails_after_its_answer_is_no_further_call() -> None:
    metrics = Metrics()
    metrics(finished("succeeded", 0.3))
    metrics(finished("failed", 0.3, is_amended=True))
    found = read(metrics)
    assert found["hfhooks_deliveries_total", ("train", "failed")] == 1
    assert found["hfhooks_handler_seconds_bucket", ("train", "+Inf")] == 1


def test_what_is_now() -> None:
    found = read(Metrics())
    assert found["hfhooks_queue_length", ()] == 3
    assert found["hfhooks_worker_up", ()] == 1
    assert found["hfhooks_tunnel_up", ("ngrok",)] == 0
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_without_a_tunnel_there_is_nothing_to_say_of_it() -> None:
    found = read(Metrics(), Gauges(0, has_worker=False, tunnel=None, is_tunnel_up=True))
    assert not [name for name, _ in found if "tunnel" in name]
    assert found["hfhooks_worker_up", ()] == 0


def test_what_runs_for_very_long_is_named() -> None:
    found = read(Metrics(), NOW._replace(long=[("train", 12, 700.5)]))
    assert found["hfhooks_long_handler_seconds", ("12", "train")] == 700.5
    assert not any(name == "hfhooks_long_handler_seconds" for name, _ in read(Metrics()))
