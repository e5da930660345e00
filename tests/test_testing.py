"""The kit for users' own tests."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import BackgroundTasks, HTTPException, Request
from pydantic import BaseModel

from hfhooks import Delivery, Discard, Retry, WebhookPayload, WebhooksServer, webhook_endpoint
from hfhooks.script.registry import Registry, collecting
from hfhooks.testing import Result, deliver, sample

PUSH = sample("repo.content:update", "dataset:me/data")


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with collecting(Registry()) as registry:
        yield registry


def test_a_handler_is_called_and_its_answer_returned() -> None:
    @webhook_endpoint
    def train(payload: WebhookPayload, delivery: Delivery) -> dict[str, Any]:
        return {"training": payload.repo.name, "attempt": delivery.attempt}

    answer = {"training": "me/data", "attempt": 1}
    assert deliver(train, PUSH) == Result("succeeded", 200, answer)


async def test_it_works_where_a_loop_runs_already() -> None:
    @webhook_endpoint
    async def train(request: Request) -> str:
        return (await request.json())["repo"]["name"]  # type: ignore[no-any-return]

    assert deliver(train, PUSH).answer == "me/data"


def test_a_filter_counts() -> None:
    @webhook_endpoint(repo="model:*")
    def train(payload: WebhookPayload) -> None: ...

    result = deliver(train, PUSH)
    assert (result.status, result.error) == ("ignored", "repo dataset:me/data is not model:*")


@pytest.mark.parametrize(
    ("raised", "status", "http_status", "retry_after"),
    [
        (RuntimeError("no GPU"), "retrying", None, 5.0),
        (Retry("no GPU", after=60), "retrying", None, 60.0),
        (Discard("no GPU"), "failed", None, None),
        (HTTPException(404, "no GPU"), "failed", 404, None),
    ],
)
def test_what_a_handler_raises_is_seen(
    raised: Exception, status: str, http_status: int | None, retry_after: float | None
) -> None:
    @webhook_endpoint
    def train(payload: WebhookPayload) -> None:
        raise raised

    result = deliver(train, PUSH)
    assert (result.status, result.http_status, result.retry_after) == (
        status,
        http_status,
        retry_after,
    )
    assert "no GPU" in str(result.error or result.answer)


def test_a_model_that_refuses_the_payload_is_a_failure() -> None:
    class Mine(BaseModel):
        missing: int

    @webhook_endpoint
    def train(payload: Mine) -> None: ...

    result = deliver(train, PUSH)
    assert (result.status, result.error) == ("failed", "body.missing: Field required")


def test_background_tasks_have_run_and_their_failure_counts() -> None:
    done: list[int] = []

    @webhook_endpoint
    def works(tasks: BackgroundTasks) -> None:
        tasks.add_task(done.append, 1)

    @webhook_endpoint
    def fails(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: 1 / 0)

    assert (deliver(works, PUSH).status, done) == ("succeeded", [1])
    result = deliver(fails, PUSH)
    assert result.status == "failed"
    assert "ZeroDivisionError" in str(result.error)


def test_a_secret_is_not_asked_for() -> None:
    app = WebhooksServer(webhook_secret="a-secret-of-ours")

    @app.add_webhook
    def train(request: Request) -> Any:
        return request.headers["x-webhook-secret"]

    assert deliver(train, PUSH).answer == "a-secret-of-ours"


def test_any_body_and_header_reaches_a_request() -> None:
    @webhook_endpoint
    async def raw(request: Request) -> list[Any]:
        return [len(await request.body()), request.headers["x-mine"]]

    assert deliver(raw, b"\xff\x00", headers={"X-Mine": "1"}).answer == [2, "1"]


def test_of_a_module_one_is_chosen() -> None:
    module = ModuleType("bots")
    for name in ("one", "two"):
        exec(f"def {name}(): return {name!r}", vars(module))
        vars(module)[name].__module__ = "bots"
        webhook_endpoint(vars(module)[name])
    assert deliver(module, PUSH, to="/webhooks/two").answer == "two"
    with pytest.raises(LookupError, match="several endpoints are meant: one, two"):
        deliver(module, PUSH)
    with pytest.raises(LookupError, match="no endpoint"):
        deliver(module, PUSH, to="three")
    with pytest.raises(LookupError, match="no endpoint"):
        deliver(print, PUSH)


def test_an_exported_test_passes(start: Any, script: Callable[..., Path], tmp_path: Path) -> None:
    from tests.harness import run_command

    text = "from hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint\ndef name(payload): return payload.repo.name\n"
    server = start(script(text))
    server.post("name", PUSH)
    exported = run_command("deliveries", "export", "1", "--pytest").stdout
    (tmp_path / "test_it.py").write_text(exported)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed" in found.stdout, found.stdout
