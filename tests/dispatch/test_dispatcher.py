import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hfhooks.dispatch.client import Connection, Interrupted, Response, WorkerClient, WorkerGone
from hfhooks.dispatch.dispatcher import BURST, CALM, FEW, MOST_IN_MEMORY, Dispatcher
from hfhooks.errors import JournalFull
from hfhooks.journal.sqlite.journal import Journal
from hfhooks.journal.sqlite.records import Attempt, Delivery
from hfhooks.model.endpoint import Endpoint
from tests.wired import NOW, Reports, settle, until


class FakeWorker(WorkerClient):
    """Accepts every connection and answers from a list; an exception in it is raised."""

    def __init__(self, *answers: Response | Exception, refusals: int = 0) -> None:
        super().__init__("nowhere")
        self.answers = list(answers)
        self.refusals = refusals
        self.targets: list[str] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.bodies: list[bytes] = []
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.hold = asyncio.Event()
        self.hold.set()

    async def connect(self) -> Connection:
        if self.refusals:
            self.refusals -= 1
            raise WorkerGone("refused")
        return FakeConnection(self)

    async def answer(self, body: bytes) -> Response:
        await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else Response(200, [], b"null")
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeConnection(Connection):
    def __init__(self, worker: FakeWorker) -> None:
        super().__init__(worker)
        self.worker = worker

    async def post(self, target: str, headers: Any, body: bytes) -> Response:
        worker = self.worker
        worker.targets.append(target)
        worker.headers.append(list(headers))
        worker.bodies.append(body)
        worker.at_once[target] += 1
        worker.most_at_once |= worker.at_once
        try:
            return await worker.answer(body)
        finally:
            worker.at_once[target] -= 1


class KilledBy(FakeWorker):
    """Dies when it runs this body, and the first time when it runs so many at once."""

    def __init__(self, body: bytes, at_once: int) -> None:
        super().__init__()
        self.killer = body
        self.first = at_once

    async def answer(self, body: bytes) -> Response:
        is_first = len(self.targets) <= self.first
        await until(lambda: len(self.targets) >= self.first)
        if is_first or body == self.killer:
            raise WorkerGone("gone")
        return Response(200)


def new(endpoint: str = "train", **values: Any) -> Delivery:
    return Delivery(endpoint, NOW, **{"query": "", "headers": (), "body": b"{}"} | values)


RAISED = Response(500, [(b"hfhooks-outcome", b"raised")], b"Traceback")


def retry(after: float) -> Response:
    outcome = (b"hfhooks-outcome", b"retry"), (b"hfhooks-retry-after", str(after).encode())
    return Response(500, [*outcome], b"not yet")


def train(**options: Any) -> list[Endpoint]:
    return [Endpoint("train", **options)]


@pytest.fixture
async def submit(journal: Journal, dispatcher: Dispatcher) -> AsyncIterator[Callable[..., Any]]:
    async def submit(delivery: Delivery) -> Any:
        return dispatcher.submit(await journal.record(delivery), wait=60)

    yield submit
    await dispatcher.drain(grace=0)


async def begun(submit: Any, dispatcher: Dispatcher, worker: FakeWorker) -> Any:
    """Let a handler run that is held back; return what will tell its outcome."""
    worker.hold.clear()
    dispatcher.use(worker, train())
    outcome = await submit(new())
    await until(lambda: worker.targets)
    return outcome


async def test_an_outcome_is_recorded_and_told(
    submit: Any, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(Response(200, [], b"1")), train())
    outcome = await (await submit(new()))
    await settle(journal)
    assert (outcome.delivery.status, outcome.response.body) == ("succeeded", b"1")
    assert reports.outcomes == [outcome]
    delivery = journal.get(1)
    assert delivery is not None and (delivery.status, delivery.attempts) == ("succeeded", 1)
    [attempt] = journal.attempts(1)
    assert (attempt.status, attempt.http_status, attempt.started_at) == ("succeeded", 200, NOW)
    assert (attempt.answer, attempt.error) == (b"1", None)
    assert dispatcher.unfinished == 0


async def test_deliveries_wait_for_a_worker_and_start_in_order(
    submit: Any, dispatcher: Dispatcher
) -> None:
    names = [f"e{number % 3}" for number in range(20)]
    outcomes = [await submit(new(name)) for name in names]
    worker = FakeWorker()
    dispatcher.use(worker, [Endpoint(name) for name in ("e0", "e1", "e2")])
    await asyncio.gather(*outcomes)
    assert worker.targets == [f"/webhooks/{name}" for name in names]


async def test_what_an_earlier_server_left_comes_first(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    for number in range(3):
        await journal.record(new(query=f"left={number}"))
    left = journal.unfinished()
    outcome = await submit(new(query="new"))
    for row in reversed(left):
        dispatcher.resume(row)
    worker = FakeWorker()
    dispatcher.use(worker, train())
    await outcome
    assert [target.partition("?")[2] for target in worker.targets] == [
        "left=0", "left=1", "left=2", "new",
    ]  # fmt: skip
    await until(lambda: dispatcher.unfinished == 0)


async def test_content_that_is_not_kept_in_memory_is_read_again(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    bodies = [b'{"number": %d}' % number for number in range(MOST_IN_MEMORY + 50)]
    outcomes = [await submit(new(body=body)) for body in bodies]
    worker = FakeWorker()
    dispatcher.use(worker, train())
    await asyncio.gather(*outcomes)
    assert worker.bodies == bodies


async def test_an_endpoint_runs_so_many_handlers_and_holds_up_no_other(
    submit: Any, dispatcher: Dispatcher
) -> None:
    worker = FakeWorker()
    worker.hold.clear()
    dispatcher.use(worker, [Endpoint("slow", max_concurrency=2), Endpoint("other")])
    outcomes = [await submit(new("slow")) for _ in range(5)]
    outcomes.append(await submit(new("other")))
    await until(lambda: "/webhooks/other" in worker.targets)
    assert worker.targets.count("/webhooks/slow") == 2
    worker.hold.set()
    await asyncio.gather(*outcomes)
    assert worker.most_at_once["/webhooks/slow"] == 2


async def test_who_arrives_when_all_turns_are_taken_is_told_so(
    dispatcher: Dispatcher,
) -> None:
    dispatcher.use(FakeWorker(), train(max_concurrency=2))
    assert [dispatcher.expect("train") for _ in range(3)] == [True, True, False]
    for _ in range(2):
        dispatcher.arrived("train")
    assert dispatcher.expect("train")
    await dispatcher.drain(grace=0)


async def test_in_a_burst_few_handlers_run_beside(submit: Any, dispatcher: Dispatcher) -> None:
    worker = FakeWorker()
    worker.hold.clear()
    for _ in range(BURST + 1):
        dispatcher.expect("train")
    dispatcher.use(worker, train())
    outcomes = [await submit(new()) for _ in range(10)]
    await until(lambda: len(worker.targets) == FEW)
    await asyncio.sleep(2 * CALM)
    assert len(worker.targets) == FEW
    dispatcher.arrived("train")
    await until(lambda: len(worker.targets) == 10)
    worker.hold.set()
    await asyncio.gather(*outcomes)


async def test_the_request_is_sent_as_it_came_without_hops_and_ours(
    submit: Any, dispatcher: Dispatcher
) -> None:
    worker = FakeWorker()
    dispatcher.use(worker, train())
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
    [(host, secret, attempt)] = worker.headers
    assert (host, secret) == (("host", "hooks.test"), ("x-webhook-secret", "s"))
    assert attempt[0] == "hfhooks-attempt"


async def test_the_handler_may_know_its_delivery_and_gets_the_secret_again(
    submit: Any, dispatcher: Dispatcher
) -> None:
    worker = FakeWorker(WorkerGone("gone"))
    dispatcher.use(worker, train(secrets=("s3cret", "before")))
    headers = (("content-type", "application/json"), ("x-webhook-secret", "before"))
    await (await submit(new(webhook_id="w1", is_replay=True, headers=headers)))
    first, second = (dict(headers) for headers in worker.headers)
    assert (first["x-webhook-secret"], second["x-webhook-secret"]) == ("before", "s3cret")
    assert second["content-type"] == "application/json"
    known = {"id": 1, "webhook_id": "w1", "is_replay": True, "received_at": NOW}
    assert json.loads(first["hfhooks-attempt"]) == known | {"attempt": 1}
    assert json.loads(second["hfhooks-attempt"]) == known | {"attempt": 2}


async def test_a_handler_that_raises_is_called_again_later(
    submit: Any, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(RAISED), train())
    outcome = await (await submit(new()))
    await settle(journal)
    assert (outcome.delivery.status, outcome.retry_after) == ("retrying", 5)
    delivery = journal.get(1)
    assert delivery is not None and (delivery.status, delivery.failures) == ("retrying", 1)
    assert dispatcher.unfinished == 1 and len(reports.outcomes) == 1


async def test_retries_come_and_end(
    submit: Any, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(*[retry(0)] * 5), train(retries=2))
    await submit(new())
    await until(lambda: len(reports.outcomes) == 3)
    statuses = [outcome.delivery.status for outcome in reports.outcomes]
    assert statuses == ["retrying", "retrying", "failed"]
    assert [attempt.number for attempt in journal.attempts(1)] == [1, 2, 3]
    assert dispatcher.unfinished == 0


async def test_what_a_full_disk_does_not_take_is_written_when_there_is_room(
    submit: Any,
    dispatcher: Dispatcher,
    journal: Journal,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hfhooks.dispatch.dispatcher.WRITE_AGAIN", 0.001)
    worker = FakeWorker(Response(200, [], b"x" * 4096))
    worker.hold.clear()
    dispatcher.use(worker, train())
    outcome = await submit(new())
    await until(lambda: worker.targets)
    connection = journal._database._writer
    room = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {room}").fetchall()
    worker.hold.set()
    with pytest.raises(JournalFull):
        while True:
            await journal.record(new(body=b"x" * 10_000))
    await asyncio.sleep(0.01)
    assert (await outcome).delivery.status == "succeeded" and reports.outcomes == []
    connection.execute("PRAGMA max_page_count = 100000").fetchall()
    await until(lambda: reports.outcomes)
    delivery = journal.get(1)
    assert delivery is not None and delivery.status == "succeeded"


async def test_a_worker_that_dies_gives_its_delivery_back(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(WorkerGone("gone")), train())
    outcome = await (await submit(new()))
    await settle(journal)
    assert (outcome.delivery.status, outcome.delivery.attempts) == ("succeeded", 2)
    assert [attempt.status for attempt in journal.attempts(1)] == ["crashed", "succeeded"]


async def test_a_worker_that_accepts_no_connection_costs_no_attempt(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(WorkerGone("died"), refusals=5), train())
    outcome = await (await submit(new()))
    await settle(journal)
    assert outcome.delivery.status == "succeeded"
    assert [attempt.status for attempt in journal.attempts(1)] == ["crashed", "succeeded"]


async def test_a_worker_that_accepts_none_for_long_is_told(
    submit: Any, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.dispatch.dispatcher.CONNECT_AGAIN", 0)
    told: list[int] = []
    dispatcher.on_unreachable = lambda: told.append(1)
    dispatcher.use(FakeWorker(refusals=250), train())
    await (await submit(new()))
    assert len(told) == 2


async def test_a_handler_that_kills_its_worker_again_and_again_is_given_up(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(*[WorkerGone("gone")] * 3), train())
    outcome = await (await submit(new()))
    await settle(journal)
    assert (outcome.delivery.status, outcome.response) == ("failed", None)
    assert [attempt.status for attempt in journal.attempts(1)] == ["crashed"] * 3


async def test_who_ran_beside_a_killer_is_not_given_up_with_it(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    """The worker dies whenever the first of eight deliveries runs, and takes all with it."""
    worker = KilledBy(b'{"number": 0}', at_once=8)
    dispatcher.use(worker, train())
    outcomes = [await submit(new(body=b'{"number": %d}' % number)) for number in range(8)]
    statuses = [(await outcome).delivery.status for outcome in outcomes]
    await settle(journal)
    assert statuses == ["failed"] + ["succeeded"] * 7
    assert [len(journal.attempts(id)) for id in range(1, 9)] == [3] + [2] * 7


async def test_a_suspect_is_known_after_a_restart(journal: Journal, reports: Reports) -> None:
    delivery = journal.claim(await journal.record(new()), NOW)
    await journal.finish(delivery, Attempt(1, NOW, 0.0, "crashed"), "queued")
    dispatcher = Dispatcher(journal, reports.finished)
    dispatcher.resume(*journal.unfinished())
    dispatcher.use(FakeWorker(*[WorkerGone("gone")] * 2), train())
    await until(lambda: reports.outcomes)
    await dispatcher.drain(grace=0)
    assert [attempt.status for attempt in journal.attempts(1)] == ["crashed"] * 3
    assert reports.outcomes[0].delivery.status == "failed"


async def test_a_delivery_whose_endpoint_is_gone_waits_for_its_return(
    submit: Any, dispatcher: Dispatcher
) -> None:
    dispatcher.use(FakeWorker(), train())
    dispatcher.use(FakeWorker(), [Endpoint("other")])
    outcome = await submit(new())
    await (await submit(new("other")))
    assert not outcome.done()
    dispatcher.use(FakeWorker(), train())
    assert (await outcome).delivery.status == "succeeded"


async def test_draining_waits_for_running_handlers_and_leaves_the_rest(
    submit: Any, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    worker = FakeWorker(*[Response(200)] * 2, RAISED)
    worker.hold.clear()
    dispatcher.use(worker, train(max_concurrency=3))
    outcomes = [await submit(new()) for _ in range(5)]
    await until(lambda: len(worker.targets) == 3)
    draining = asyncio.create_task(dispatcher.drain(grace=5))
    await asyncio.sleep(0)
    worker.hold.set()
    await draining
    assert [outcome.result() is None for outcome in outcomes] == [False] * 3 + [True] * 2
    assert [row.id for row in journal.unfinished()] == [3, 4, 5]
    assert len(reports.outcomes) == 3
    assert (await submit(new())).result() is None


async def test_draining_puts_back_what_takes_longer_than_the_grace(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    outcome = await begun(submit, dispatcher, FakeWorker())
    await dispatcher.drain(grace=0.01)
    delivery = journal.get(1)
    assert delivery is not None and (delivery.status, delivery.crashes) == ("queued", 0)
    assert [attempt.status for attempt in journal.attempts(1)] == ["interrupted"]
    assert outcome.result() is None


async def test_draining_gives_up_the_retries_that_are_due_later(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    worker = FakeWorker(retry(0.001))
    dispatcher.use(worker, train())
    await (await submit(new()))
    await dispatcher.drain(grace=0)
    await asyncio.sleep(0.01)
    assert len(worker.targets) == 1
    assert [row.id for row in journal.unfinished()] == [1]


async def test_draining_ends_on_a_full_disk_too(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    outcome = await begun(submit, dispatcher, FakeWorker())
    await settle(journal)
    journal._database._writer.execute("PRAGMA max_page_count = 1").fetchall()
    with pytest.raises(JournalFull):
        while True:
            await journal.record(new(body=b"x" * 10_000))
    async with asyncio.timeout(5):
        await dispatcher.drain(grace=0.01)
    assert outcome.result() is None
    assert [row.id for row in journal.unfinished()][:1] == [1]


async def test_a_worker_that_is_lost_gives_up_its_idle_connections_too(tmp_path: Path) -> None:
    accepted: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    server = await asyncio.start_unix_server(accept, tmp_path / "w.sock")
    client = WorkerClient(str(tmp_path / "w.sock"))
    stale = await client.connect()
    client.keep(stale)
    stale.close()
    assert await client.connect() is not stale
    client.abort()
    await until(lambda: len(accepted) == 2)
    for writer in accepted:
        writer.close()
    server.close()


async def test_what_raised_is_due_at_once_when_that_is_mended(
    submit: Any, dispatcher: Dispatcher, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(RAISED, retry(after=60)), train())
    for _ in range(2):
        await submit(new())
    await until(lambda: len(reports.outcomes) == 2)
    assert dispatcher.retry_raised() == 1
    await until(lambda: len(reports.outcomes) == 3)
    mended = reports.outcomes[2]
    assert (mended.delivery.id, mended.attempt.number, mended.attempt.status) == (1, 2, "succeeded")
    assert (dispatcher.retry_raised(), dispatcher.unfinished) == (0, 1)


async def test_what_an_old_worker_could_not_finish_is_run_by_the_new_one(
    submit: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    outcome = await begun(submit, dispatcher, old := FakeWorker(Interrupted("replaced")))
    dispatcher.use(FakeWorker(), train())
    old.hold.set()
    assert (await outcome).attempt.number == 2
    await settle(journal)
    assert [a.status for a in journal.attempts(1)] == ["interrupted", "succeeded"]
