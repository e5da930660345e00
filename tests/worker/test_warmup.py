import logging
import subprocess
import sys
import threading

import pytest

from hfhooks.model.payload import WebhookPayload
from hfhooks.script.registry import current_registry
from hfhooks.worker.sources import local_files
from hfhooks.worker.warmup import warm_up
from tests.harness import wait_until

SERVING = """
import sys
from hfhooks.model.endpoint import Endpoint
from hfhooks.script.registry import Registration, Registry
from hfhooks.tasks import run
from hfhooks.worker.serve import Listener, bind, build, current_default_thread_limiter
from hfhooks.worker.warmup import warm_up

warm_up()
before = set(sys.modules)
registry = Registry(is_served=True)
registry.add(Registration(Endpoint("a"), lambda payload: ...))
app, _ = build(registry)
started = lambda: (current_default_thread_limiter(), listener.stop())
listener = Listener(app, bind(None)[0], started)
run(listener.listen())
print(*set(sys.modules) - before)
"""


def test_its_delivery_reaches_its_handler() -> None:
    handled: list[str] = []

    def handler(payload: WebhookPayload) -> None:
        handled.append(payload.repo.name)

    warm_up(handler)
    assert handled == ["warm/up"]


def test_serving_then_imports_next_to_nothing() -> None:
    found = subprocess.check_output([sys.executable, "-P", "-c", SERVING], text=True)
    assert set(found.split()) <= {"fastapi.telemetry._runtime"}


def test_it_leaves_no_trace() -> None:
    def traces() -> list[object]:
        loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.access")]
        handlers = [(logger.level, *logger.handlers) for logger in loggers]
        endpoints = list(current_registry().registrations)
        return [handlers, endpoints, threading.enumerate(), local_files()]

    before = traces()
    warm_up()
    wait_until(lambda: traces() == before)  # a thread of the pool ends a moment later


def test_it_says_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    warm_up()
    assert (capfd.readouterr(), caplog.records) == (("", ""), [])


@pytest.mark.parametrize("secret", ["", "geheim\n", "ä"])
def test_a_secret_that_protects_nothing_is_left_to_the_load(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    warm_up()
