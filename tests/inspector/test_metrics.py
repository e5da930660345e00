"""What is counted, and how Prometheus reads it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hfhooks.dispatch.dispatcher import Outcome
from hfhooks.inspector.metrics import Gauges, Metrics, rendered
from hfhooks.journal.sqlite.records import Attempt, Delivery
from tests.wired import Reports

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


def delivery(status: str) -> Delivery:
    return Delivery("train", 0.0, "", (), b"{}", None, None, None, status=status)


def outcome(status: str, duration: float) -> Outcome:
    return Outcome(delivery(status), Attempt(1, 0.0, duration, status), None)


def test_everything_is_counted_and_passed_on() -> None:
    reports = Reports()
    metrics = Metrics(reports)
    for status, duration in (("succeeded", 0.004), ("retrying", 0.3), ("failed", 1000.0)):
        metrics.finished(outcome(status, duration))
    metrics.ignored(delivery("ignored"), "why")
    metrics.duplicate(delivery("duplicate"))
    metrics.refused("/webhooks/train", 401, "unauthorized", None)
    metrics.full("no room")
    metrics.reloaded(True)
    metrics.reloaded(False)
    metrics.reloaded(True)
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
    assert [len(each) for each in (reports.outcomes, reports.ignored_because)] == [3, 1]
    assert reports.refusals == [("/webhooks/train", 401, "unauthorized")]
    assert (len(reports.duplicates), reports.full_because) == (1, ["no room"])


def test_what_is_now() -> None:
    found = read(Metrics(Reports()))
    assert found["hfhooks_queue_length", ()] == 3
    assert found["hfhooks_worker_up", ()] == 1
    assert found["hfhooks_tunnel_up", ("ngrok",)] == 0
    assert found["process_resident_memory_bytes", ()] > 1e6


def test_without_a_tunnel_there_is_nothing_to_say_of_it() -> None:
    found = read(Metrics(Reports()), Gauges(0, has_worker=False, tunnel=None, is_tunnel_up=True))
    assert not [name for name, _ in found if "tunnel" in name]
    assert found["hfhooks_worker_up", ()] == 0
