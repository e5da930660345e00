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
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.endpoint import Endpoint
from hfhooks.script.registry import Registration, Registry
from hfhooks.tasks import run
from hfhooks.worker.app import build, direct_handlers
from hfhooks.worker.calls import Calls
from hfhooks.worker.loops import Loops
from hfhooks.worker.served import make_room
from hfhooks.worker.site import entered
from hfhooks.worker.warmup import warm_up

warm_up()
before = set(sys.modules)
registry = Registry(is_served=True)
registry.add(Registration(Endpoint("a"), lambda payload: ...))
registry.add(Registration(Endpoint("b"), lambda request: 1 / 0))
app, endpoints = build(registry)

async def serve():
    async with entered(app):
        call = Calls(direct_handlers(app), app, print)
        loops = Loops(call, registry, prepare=make_room, on_blocked=print, on_fault=print)
        headers = (("content-type", "application/json"),)
        for endpoint in endpoints:
            delivery = Recorded(endpoint.name, 0.0, "", headers, b"{}")
            await call(Claim(1, delivery, 1, ""), None, lambda ending: None)
        loops.stop()
        await loops.serve(print)

run(serve())
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
        return [handlers, endpoints, local_files()]

    before, threads = traces(), threading.enumerate()
    warm_up()
    assert traces() == before
    wait_until(lambda: set(threading.enumerate()) <= set(threads))  # one ends a moment later


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
