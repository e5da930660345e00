import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hfhooks.gateway.client import Connection, Response, WorkerClient, WorkerGone
from hfhooks.gateway.dispatch import AT_ONCE, Dispatcher
from hfhooks.gateway.journal import Delivery, Journal
from tests.gateway.conftest import NOW, Reports


class FakeWorker(WorkerClient):
    """Accepts every connection and answers from a list; an exception in it is raised."""

    def __init__(self, *answers: Response | Exception, refusals: int = 0) -> None:
        super().__init__("nowhere")
        self.answers = list(answers)
        self.refusals = refusals
        self.targets: list[str] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def connect(self) -> Connection:
        if self.refusals:
            self.refusals -= 1
            raise WorkerGone("refused")
        return FakeConnection(self)


class FakeConnection(Connection):
    def __init__(self, worker: FakeWorker) -> None:
        super().__init__(worker)
        self.worker = worker

    async def post(self, target: str, headers: Any, body: bytes) -> Response:
        worker = self.worker
        worker.targets.append(target)
        worker.headers.append(list(headers))
        await worker.hold.wait()
        answer = worker.answers.pop(0) if worker.answers else Response(200, [], b"null")
        if isinstance(answer, Exception):
            raise answer
        return answer


def new(endpoint: str = "train", **values: Any) -> Delivery:
    return Delivery(endpoint, NOW, **{"query": "", "headers": (), "body": b"{}"} | values)


@pytest.fixture
async def submit(journal: Journal, dispatcher: Dispatcher) -> AsyncIterator[Callable[..., Any]]:
    async def submit(delivery: Delivery) -> Any:
        return dispatcher.submit(await journal.record(delivery))

    yield submit
    await dispatcher.drain(grace=0)


@pytest.mark.parametrize(
    ("response", "status", "error"),
    [
        (Response(200, [], b"1"), "succeeded", None),
        (Response(302, [], b""), "succeeded", None),
        (Response(404, [], b"no"), "failed", None),
        (Response(500, [(b"hfhooks-outcome", b"raised")], b"Trace"), "failed", "Trace"),
        (Response(422, [(b"hfhooks-outcome", b"refused")], b"why"), "failed", "why"),
    ],
)
async def test_what_an_answer_makes_of_a_delivery(
    submit: Any, dispatcher: Dispatcher, journal: Journal, response: Response, status: str,
    error: str | None,
) -> None:  # fmt: skip
    dispatcher.use(FakeWorker(response))
    outcome = await (await submit(new()))
    assert (outcome.delivery.status, outcome.attempt.error) == (status, error)
    delivery = journal.get(1)
    assert delivery is not None and (delivery.status, delivery.attempts) == (status, 1)
    [attempt] = journal.attempts(1)
    assert (attempt.status, attempt.http_status, attempt.started_at) == (
        status, response.status, NOW,
    )  # fmt: skip


async def test_deliveries_wait_for_a_worker_and_start_in_order(
    submit: Any, dispatcher: Dispatcher
) -> None:
    tasks = [await submit(new(f"e{number}")) for number in range(20)]
    worker = FakeWorker()
    dispatcher.use(worker)
    await asyncio.gather(*tasks)
    assert worker.targets == [f"/webhooks/e{number}" for number in range(20)]


async def test_one_endpoint_runs_so_many_handlers_and_holds_up_no_other(
    submit: Any, dispatcher: Dispatcher
) -> None:
    worker = FakeWorker()
    worker.hold.clear()
    dispatcher.use(worker)
    slow = [await submit(new("slow")) for _ in range(AT_ONCE + 3)]
    other = await submit(new("other"))
    while "/webhooks/other" not in worker.targets:
        await asyncio.sleep(0)
    assert worker.targets.count("/webhooks/slow") == AT_ONCE
    worker.hold.set()
    await asyncio.gather(*slow, other)


async def test_the_request_is_sent_as_it_came_without_hops_and_ours(
    submit: Any, dispatcher: Dispatcher
) -> None:
    worker = FakeWorker()
    dispatcher.use(worker)
    headers = (
        ("host", "hooks.test"),
        ("x-webhook-secret", "s"),
        ("connection", "close"),
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("hfhooks-token", "t"),
    )
    await (await submit(new(query="a=1", headers=headers)))
    assert worker.targets == ["/webhooks/train?a=1"]
    assert worker.headers == [[("host", "hooks.test"), ("x-webhook-secret", "s")]]


async def test_a_worker_that_dies_gives_its_delivery_back(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(WorkerGone("gone")))
    outcome = await (await submit(new()))
    assert (outcome.delivery.status, outcome.delivery.attempts) == ("succeeded", 2)
    assert [attempt.status for attempt in journal.attempts(1)] == ["interrupted", "succeeded"]


async def test_a_worker_that_accepts_no_connection_costs_no_attempt(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(WorkerGone("died"), refusals=5))
    outcome = await (await submit(new()))
    assert outcome.delivery.status == "succeeded"
    assert [attempt.status for attempt in journal.attempts(1)] == ["interrupted", "succeeded"]


async def test_a_handler_that_kills_its_worker_again_and_again_is_given_up(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(*[WorkerGone("gone")] * 3))
    outcome = await (await submit(new()))
    assert (outcome.delivery.status, outcome.response) == ("failed", None)
    assert [attempt.status for attempt in journal.attempts(1)] == ["interrupted"] * 3


async def test_draining_waits_for_running_handlers_and_leaves_the_rest(
    submit: Any, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    worker = FakeWorker()
    worker.hold.clear()
    dispatcher.use(worker)
    tasks = [await submit(new()) for _ in range(AT_ONCE + 2)]
    while len(worker.targets) < AT_ONCE:
        await asyncio.sleep(0)
    draining = asyncio.create_task(dispatcher.drain(grace=5))
    await asyncio.sleep(0)
    worker.hold.set()
    await draining
    assert [task.cancelled() for task in tasks] == [False] * AT_ONCE + [True] * 2
    assert [delivery.status for delivery in journal.unfinished()] == ["queued"] * 2
    assert len(reports.outcomes) == AT_ONCE
    assert (await asyncio.wait({await submit(new())}))[0].pop().cancelled()


async def test_draining_gives_up_on_handlers_after_the_grace(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    worker = FakeWorker()
    worker.hold.clear()
    dispatcher.use(worker)
    task = await submit(new())
    while not worker.targets:
        await asyncio.sleep(0)
    await dispatcher.drain(grace=0.01)
    assert [delivery.status for delivery in journal.unfinished()] == ["running"]
    assert (await asyncio.wait({task}))[0].pop().cancelled()
