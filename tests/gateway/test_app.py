import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import HTTPException, Request, Response
from pydantic import BaseModel

from hfhooks import Delivery as HandlersDelivery
from hfhooks import Discard, Retry, WebhookPayload, WebhooksServer, webhook_endpoint
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import DiskError, JournalFull
from hfhooks.gateway.app import Gateway
from hfhooks.gateway.paths import Paths
from hfhooks.http.limits import MAX_BODY
from hfhooks.journal import Journal
from hfhooks.journal.backlog import Limits
from hfhooks.journal.memory import MemoryJournal
from hfhooks.model.condition import Condition
from hfhooks.model.endpoint import Endpoint
from hfhooks.tasks import Tasks
from tests.harness import JSON, PAYLOADS, content_of, payload_bytes, until
from tests.wired import IN_MEMORY, NOW, TOKEN, Reports, listening, recorded, unfinished

PULL = payload_bytes("pr_create_v3_docs")
OWNER = {"hfhooks-token": TOKEN}
REPLAY = {"hfhooks-origin": "replay"}


def echo() -> None:
    @webhook_endpoint
    def echo(payload: dict[str, Any]) -> dict[str, Any]:
        return payload


async def test_the_handlers_answer_comes_back(gateway: Any) -> None:
    @webhook_endpoint
    async def name(payload: WebhookPayload) -> dict[str, str]:
        return {"name": payload.repo.name}

    http = await gateway()
    answer = await http.post("/webhooks/name", content=PULL, headers=JSON)
    assert answer.status_code == 200
    assert answer.json() == {"name": "openai-community/gpt2"}


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
async def test_a_handler_sees_exactly_what_was_sent(gateway: Any, path: Any) -> None:
    echo()
    http = await gateway()
    answer = await http.post("/webhooks/echo", content=path.read_bytes(), headers=JSON)
    assert answer.status_code == 200
    assert answer.json() == json.loads(path.read_bytes())


async def test_a_delivery_is_on_disk_before_its_handler_runs(
    gateway: Any, journal: Journal
) -> None:
    seen = []

    @webhook_endpoint
    async def handler(payload: dict[str, Any]) -> None:
        seen.append(await journal.get(1))

    http = await gateway()
    await http.post("/webhooks/handler", content=PULL, headers=JSON)
    [delivery] = seen
    assert delivery is not None and (delivery.id, delivery.body) == (1, PULL)


async def test_what_is_recorded(gateway: Any, journal: Journal) -> None:
    echo()
    http = await gateway()
    headers = {"webhook-id": "w1", "user-agent": "hub", "authorization": "Bearer x", "cookie": "y"}
    await http.post("/webhooks/echo?a=1&secret=s&b=%20", content=PULL, headers=JSON | headers)
    delivery = await recorded(journal)
    assert delivery.body == PULL
    assert delivery.received_at == NOW
    assert (delivery.event, delivery.repo) == ("discussion:create", "model:openai-community/gpt2")
    assert (delivery.webhook_id, delivery.query, delivery.status) == (
        "w1",
        "a=1&b=%20",
        "succeeded",
    )
    assert dict(delivery.headers) == JSON | {"webhook-id": "w1", "user-agent": "hub"}
    [attempt] = await journal.attempts(1)
    assert (attempt.number, attempt.status, attempt.http_status) == (1, "succeeded", 200)
    assert json.loads(attempt.answer) == json.loads(PULL)


@pytest.mark.parametrize("webhook_id", ["", "a" * 129, "a b", "é"])
async def test_a_malformed_webhook_id_counts_as_none(
    gateway: Any, journal: Journal, webhook_id: str
) -> None:
    echo()
    http = await gateway()
    headers = JSON | {"webhook-id": webhook_id.encode()}
    await http.post("/webhooks/echo", content=PULL, headers=headers)
    delivery = await recorded(journal)
    assert delivery.webhook_id is None


async def test_a_slow_handler_gets_its_sender_a_202(gateway: Any, reports: Reports) -> None:
    go_on = asyncio.Event()

    @webhook_endpoint
    async def slow(payload: dict[str, Any]) -> dict[str, bool]:
        await go_on.wait()
        return {"done": True}

    http = await gateway(wait=0.05)
    answer = await http.post("/webhooks/slow", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"id": 1, "status": "queued"})
    go_on.set()
    await until(lambda: reports.finished)
    assert reports.finished[0].status == "succeeded"


async def test_no_wait_at_all_answers_202_at_once(gateway: Any) -> None:
    echo()
    http = await gateway(wait=0)
    answer = await http.post("/webhooks/echo", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"id": 1, "status": "queued"})


async def test_without_a_worker_deliveries_are_recorded_and_answered_202(
    gateway: Any, dispatcher: Dispatcher, journal: Journal
) -> None:
    echo()
    http = await gateway(wait=0.02)
    dispatcher.lose()
    answer = await http.post("/webhooks/echo", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"id": 1, "status": "queued"})
    assert await unfinished(journal) == [1]


async def test_a_handler_that_raises_will_be_called_again(gateway: Any, reports: Reports) -> None:
    @webhook_endpoint
    def broken(payload: dict[str, Any]) -> None:
        raise RuntimeError("not now")

    http = await gateway()
    answer = await http.post("/webhooks/broken", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"id": 1, "status": "retrying"})
    assert [outcome.retry_after for outcome in reports.finished] == [5]


async def test_a_handler_says_itself_when_to_be_called_again(
    gateway: Any, reports: Reports
) -> None:
    @webhook_endpoint
    def busy(delivery: HandlersDelivery) -> int:
        if delivery.attempt == 1:
            raise Retry("the machine is busy", after=0)
        return delivery.attempt

    http = await gateway()
    answer = await http.post("/webhooks/busy", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"id": 1, "status": "retrying"})
    await until(lambda: len(reports.finished) == 2)
    first, second = reports.finished
    assert (first.attempt.error, first.retry_after) == ("the machine is busy", 0)
    assert second.attempt.answer == b"2"


async def test_what_a_handler_discards_need_not_be_sent_again(
    gateway: Any, reports: Reports
) -> None:
    @webhook_endpoint
    async def never(payload: dict[str, Any]) -> None:
        raise Discard("none of my business")

    http = await gateway()
    answer = await http.post("/webhooks/never", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "status": "failed"})
    assert reports.finished[0].attempt.error == "none of my business"


async def test_what_the_hub_sends_again_is_handled_once(gateway: Any, reports: Reports) -> None:
    echo()
    http = await gateway()
    headers = JSON | {"webhook-id": "w1"}
    first, second = [
        await http.post("/webhooks/echo", content=PULL, headers=headers) for _ in range(2)
    ]
    assert first.json() == json.loads(PULL)
    assert (second.status_code, second.json()) == (200, {"id": 1, "status": "duplicate"})
    assert (len(reports.finished), reports.duplicates) == (1, [1])


async def test_of_many_copies_at_once_one_is_handled(gateway: Any, reports: Reports) -> None:
    echo()
    http = await gateway()

    async def send(number: int) -> int:
        headers = JSON | {"webhook-id": f"w{number % 20}"}
        answer = await http.post("/webhooks/echo", content=PULL, headers=headers)
        return int(answer.status_code)

    statuses = await asyncio.gather(*(send(number) for number in range(100)))
    assert set(statuses) <= {200, 202}
    await until(lambda: len(reports.finished) == 20)
    assert len(reports.duplicates) == 80


async def test_what_failed_is_handled_when_the_hub_sends_it_again(
    gateway: Any, reports: Reports
) -> None:
    failures = [RuntimeError("once")]

    @webhook_endpoint(retries=0)
    def once(payload: dict[str, Any]) -> str:
        if failures:
            raise failures.pop()
        return "done"

    http = await gateway()
    headers = JSON | {"webhook-id": "w1"}
    answers = [await http.post("/webhooks/once", content=PULL, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 200]
    assert [outcome.id for outcome in reports.finished] == [1, 2]


async def test_the_owner_may_run_anything_again(gateway: Any, reports: Reports) -> None:
    echo()
    http = await gateway()
    headers = JSON | OWNER | {"webhook-id": "w1", "hfhooks-origin": "replay"}
    for _ in range(2):
        assert (await http.post("/webhooks/echo", content=PULL, headers=headers)).status_code == 200
    assert [outcome.delivery.webhook_id for outcome in reports.finished] == ["w1", "w1"]


async def test_a_handler_that_repeats_the_secret_does_not_write_it_to_disk(
    gateway: Any, journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "my_secret_key")

    @webhook_endpoint
    def tell(request: Request) -> dict[str, str]:
        return dict(request.headers)

    @webhook_endpoint
    def shout(request: Request) -> None:
        raise RuntimeError(request.headers["x-webhook-secret"])

    http = await gateway()
    headers = JSON | {"x-webhook-secret": "my_secret_key"}
    told = await http.post("/webhooks/tell", content=PULL, headers=headers)
    assert told.json()["x-webhook-secret"] == "my_secret_key"
    await http.post("/webhooks/shout", content=PULL, headers=headers)
    [answer], [error] = await journal.attempts(1), await journal.attempts(2)
    assert b'"x-webhook-secret":"***"' in answer.answer
    assert error.error is not None and error.error.endswith("RuntimeError: ***\n")
    files = [*(tmp_path / "journal").iterdir()]
    assert files and not [file for file in files if b"my_secret_key" in content_of(file)]


async def test_the_owner_is_shown_an_answer_as_it_is_recorded(gateway: Any) -> None:
    @WebhooksServer(webhook_secret="canary-of-the-script").add_webhook
    def tell(request: Request) -> dict[str, str]:
        return {"secret": request.headers["x-webhook-secret"]}

    http = await gateway()
    answer = await http.post("/webhooks/tell", content=PULL, headers=JSON | OWNER)
    assert answer.json() == {"secret": "***"}


def held() -> asyncio.Event:
    """Declare an endpoint that handles one delivery at a time, when the event is set."""
    go_on = asyncio.Event()

    @webhook_endpoint(max_concurrency=1)
    async def slow(payload: dict[str, Any]) -> str:
        await go_on.wait()
        return "done"

    return go_on


async def test_who_has_to_wait_for_others_gets_the_handlers_answer_too(
    gateway: Any, dispatcher: Dispatcher
) -> None:
    go_on = held()
    http = await gateway(wait=60)
    posts = [http.post("/webhooks/slow", content=PULL, headers=JSON) for _ in range(3)]
    answers = asyncio.gather(*posts)
    await until(lambda: dispatcher.attempts.running)
    go_on.set()
    assert [answer.json() for answer in await answers] == ["done"] * 3


async def test_no_more_senders_are_kept_than_there_is_room_for(
    gateway: Any, dispatcher: Dispatcher, reports: Reports
) -> None:
    go_on = held()
    http = await gateway(wait=60, most_kept=1)
    first = asyncio.create_task(http.post("/webhooks/slow", content=PULL, headers=JSON))
    await until(lambda: dispatcher.attempts.running)
    second = await http.post("/webhooks/slow", content=PULL, headers=JSON)
    assert (second.status_code, second.json()) == (202, {"id": 2, "status": "queued"})
    go_on.set()
    assert (await first).json() == "done"
    await until(lambda: len(reports.finished) == 2)
    third = await http.post("/webhooks/slow", content=PULL, headers=JSON)
    assert third.json() == "done"


@pytest.mark.parametrize("journal", [{"limits": Limits(each=3)}], indirect=True)
async def test_beyond_so_many_unfinished_deliveries_senders_are_turned_away(
    gateway: Any, reports: Reports
) -> None:
    go_on = asyncio.Event()

    @webhook_endpoint
    async def slow(payload: dict[str, Any]) -> str:
        await go_on.wait()
        return "done"

    http = await gateway(wait=0)

    async def send() -> Any:
        return await http.post("/webhooks/slow", content=PULL, headers=JSON)

    answers = [await send() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 503, 503]
    assert answers[-1].headers["retry-after"] == "60"
    assert answers[-1].json() == {"error": "unavailable"}
    go_on.set()
    await until(lambda: len(reports.finished) == 3)
    assert (await send()).status_code == 202
    assert reports.full_because == ["3 deliveries wait for the handler of slow.", None]


@IN_MEMORY
async def test_a_full_disk_turns_senders_away_until_there_is_room(
    gateway: Any, journal: MemoryJournal, reports: Reports
) -> None:
    echo()
    http = await gateway()

    async def send() -> int:
        answer = await http.post("/webhooks/echo", content=PULL, headers=JSON)
        return int(answer.status_code)

    journal.become(Condition("full", JournalFull("the disk is full.")))
    assert [await send() for _ in range(3)] == [503, 503, 503]
    journal.become(Condition())
    assert [await send() for _ in range(2)] == [200, 200]
    assert reports.full_because == ["the disk is full.", None]


@IN_MEMORY
async def test_after_a_failure_of_the_disk_nothing_is_ever_accepted(
    gateway: Any, journal: MemoryJournal, dispatcher: Dispatcher, reports: Reports
) -> None:
    go_on = asyncio.Event()

    @webhook_endpoint
    async def slow(payload: dict[str, Any]) -> str:
        await go_on.wait()
        return "done"

    http = await gateway(wait=60)
    waiting = asyncio.create_task(http.post("/webhooks/slow", content=PULL, headers=JSON))
    await until(lambda: dispatcher.attempts.running)
    journal.become(Condition("failed", DiskError("the disk says no.")))
    assert (await http.post("/webhooks/slow", content=PULL, headers=JSON)).status_code == 503
    go_on.set()
    assert (await waiting).status_code == 503
    assert reports.full_because == []


async def test_a_handler_that_raises_for_the_last_time_is_a_500_that_says_nothing(
    gateway: Any, reports: Reports
) -> None:
    @webhook_endpoint(retries=0)
    def broken(payload: dict[str, Any]) -> None:
        raise RuntimeError("inner secret")

    http = await gateway()
    answer = await http.post("/webhooks/broken", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (500, {"id": 1, "status": "failed"})
    assert not [name for name in answer.headers if name.startswith("hfhooks")]
    [outcome] = reports.finished
    assert outcome.attempt.error is not None
    assert outcome.attempt.error.endswith("RuntimeError: inner secret\n")


async def test_a_payload_that_does_not_fit_the_model_is_not_the_senders_fault(
    gateway: Any, reports: Reports
) -> None:
    class Strict(BaseModel):
        number: int

    @webhook_endpoint
    def strict(body: Strict) -> None: ...

    http = await gateway()
    answer = await http.post("/webhooks/strict", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "status": "failed"})
    [outcome] = reports.finished
    assert (outcome.status, outcome.attempt.http_status) == ("failed", 422)
    assert outcome.attempt.error == "body.number: Field required"


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/retrain/",
        "//webhooks/retrain",
        "/webhooks//retrain",
        "/webhooks/webhooks/retrain",
    ],
)
async def test_slashes_that_come_of_joining_urls_are_no_fault(gateway: Any, path: str) -> None:
    @webhook_endpoint
    def retrain(payload: dict[str, Any]) -> str:
        return "ran"

    http = await gateway()
    url = f"{str(http.base_url).rstrip('/')}{path}"
    answer = await http.post(url, content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, "ran")


async def test_a_path_near_an_endpoint_is_said_to_be_none_once_a_minute(
    gateway: Any, reports: Reports
) -> None:
    @webhook_endpoint
    def retrain(payload: dict[str, Any]) -> None: ...

    @webhook_endpoint("/bots/reply")
    def reply(payload: dict[str, Any]) -> None: ...

    http = await gateway()
    for path in ("/wp-login.php", "/webhooks/retrian", "/webhooks/retrian", "/reply"):
        assert (await http.post(path, content=PULL, headers=JSON)).status_code == 404
    assert (await http.get("/webhooks/retrian")).status_code == 404
    assert reports.refused == [("/webhooks/retrian", 404, "not_found")]
    assert reports.hints == ["/webhooks/retrian is no endpoint; /webhooks/retrain is one."]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/webhooks/retrian", "/webhooks/retrain"),
        ("/webhook/retrain", "/webhooks/retrain"),
        ("/retrain", "/webhooks/retrain"),
        ("/webhooks/Retrain", "/webhooks/retrain"),
        ("/webhooks/reply", "/webhooks/bots/reply"),
        ("/webhooks/Retrain/", "/webhooks/retrain"),
        ("/wp-login.php", None),
        ("/" + "a" * 2000, None),
    ],
)
def test_the_nearest_endpoint_is_what_a_sender_may_have_meant(path: str, meant: str | None) -> None:
    paths = Paths((), wait=0)
    paths._endpoints = {
        each.path: each for each in map(Endpoint, ("retrain", "bots/reply", "bots/retrain"))
    }
    assert paths.nearest(path) == meant


@pytest.mark.parametrize(
    ("headers", "came"),
    [
        ({"content-type": "text/plain"}, "Content-Type: text/plain"),
        (
            {"content-type": "application/json", "content-encoding": "gzip"},
            "Content-Encoding: gzip",
        ),
    ],
)
async def test_of_what_is_no_json_the_header_is_named(
    gateway: Any, reports: Reports, headers: dict[str, str], came: str
) -> None:
    @webhook_endpoint
    def retrain(payload: dict[str, Any]) -> None: ...

    http = await gateway()
    answer = await http.post("/webhooks/retrain", content=b"{}", headers=headers)
    assert answer.status_code == 415
    [hint] = reports.hints
    assert hint.endswith(f"Content-Type: application/json, not {came}.")


async def test_an_answer_that_cannot_be_sent_is_a_delivery_that_succeeded(
    gateway: Any, reports: Reports
) -> None:
    @webhook_endpoint
    def trains(payload: dict[str, Any]) -> dict[str, float]:
        return {"loss": float("nan")}

    http = await gateway()
    answer = await http.post("/webhooks/trains", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "status": "succeeded"})
    [outcome] = reports.finished
    assert (outcome.status, outcome.sent_status) == ("succeeded", 200)
    assert (outcome.attempt.status, outcome.attempt.error) == ("succeeded", "loss is nan")


@pytest.mark.parametrize("status", [400, 404, 422, 429, 503])
async def test_an_http_exception_is_the_authors_answer(
    gateway: Any, reports: Reports, status: int
) -> None:
    @webhook_endpoint
    def picky(payload: dict[str, Any]) -> None:
        raise HTTPException(status, "not today", headers={"retry-after": "7"})

    http = await gateway()
    answer = await http.post("/webhooks/picky", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (status, {"detail": "not today"})
    assert answer.headers["retry-after"] == "7"
    assert reports.finished[0].status == "failed"


async def test_a_response_is_the_authors_answer(gateway: Any, reports: Reports) -> None:
    @webhook_endpoint
    def teapot() -> Response:
        return Response(b"<p>", 201, {"x-own": "1", "connection": "x-own"}, "text/html")

    @webhook_endpoint
    def nothing() -> Response:
        return Response(status_code=204)

    http = await gateway()
    answer = await http.post("/webhooks/teapot", content=PULL, headers=JSON)
    assert (answer.status_code, answer.content) == (201, b"<p>")
    assert answer.headers["x-own"] == "1" and "connection" not in answer.headers
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    answer = await http.post("/webhooks/nothing", content=PULL, headers=JSON)
    assert answer.status_code == 204 and "content-length" not in answer.headers
    assert [outcome.status for outcome in reports.finished] == ["succeeded"] * 2


async def test_what_the_filter_does_not_want_is_recorded_and_ignored(
    gateway: Any, reports: Reports, journal: Journal
) -> None:
    @webhook_endpoint(on="repo.content")
    def push(payload: dict[str, Any]) -> None:
        raise AssertionError("must not run")

    http = await gateway()
    answer = await http.post("/webhooks/push", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "status": "ignored"})
    assert reports.ignored_because == ["event discussion:create is not repo.content"]
    delivery = await recorded(journal)
    assert delivery.status == "ignored"
    assert await unfinished(journal) == [] and await journal.attempts(1) == []


SECRET = "s3cret"


@pytest.fixture
def protected() -> None:
    @WebhooksServer(webhook_secret=SECRET).add_webhook
    def protected(payload: dict[str, Any]) -> dict[str, bool]:
        return {"ok": True}


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"x-webhook-secret": SECRET}),
        (f"?secret={SECRET}", {}),
        ("?a=1&secret=s3%63ret", {}),
        ("?secret=wrong", {"x-webhook-secret": SECRET}),
    ],
)
async def test_the_secret_lets_in_by_header_or_url(
    gateway: Any, protected: None, query: str, headers: dict[str, str]
) -> None:
    http = await gateway()
    answer = await http.post(f"/webhooks/protected{query}", content=PULL, headers=JSON | headers)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("", {"x-webhook-secret": ""}),
        ("", {"x-webhook-secret": "s3cre"}),
        ("", {"x-webhook-secret": SECRET + " x"}),
        ("", {"x-webhook-secret": b"\xff\xfe"}),
        ("", {"x-webhook-secret": "clé".encode()}),
        ("?secret=", {}),
        ("?secret=s3cre", {}),
        ("?secret=%ff", {}),
        ("?Secret=s3cret", {}),
        (f"?secret={SECRET}", {"x-webhook-secret": "wrong"}),
        ("", {"authorization": f"Bearer {SECRET}"}),
        ("", {"hfhooks-token": "not-the-owner"}),
    ],
)
async def test_missing_and_wrong_secrets_get_the_same_401(
    gateway: Any, protected: None, journal: Journal, query: str, headers: dict[str, Any]
) -> None:
    http = await gateway()
    answer = await http.post(f"/webhooks/protected{query}", content=PULL, headers=JSON | headers)
    assert (answer.status_code, answer.content) == (401, b'{"error": "unauthorized"}')
    assert await journal.get(1) is None


async def test_a_secret_is_checked_before_anything_of_the_body(
    gateway: Any, protected: None
) -> None:
    http = await gateway()
    reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
    writer.write(b"POST /webhooks/protected HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
    writer.close()


async def test_the_secret_of_the_environment_is_for_endpoints_without_their_own(
    gateway: Any, protected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo()
    monkeypatch.setenv("WEBHOOK_SECRET", "other")
    http = await gateway()
    statuses = {
        (name, secret): (
            await http.post(
                f"/webhooks/{name}", content=PULL, headers=JSON | {"x-webhook-secret": secret}
            )
        ).status_code
        for name in ("echo", "protected")
        for secret in ("other", SECRET)
    }
    assert statuses == {
        ("echo", "other"): 200,
        ("echo", SECRET): 401,
        ("protected", "other"): 401,
        ("protected", SECRET): 200,
    }


async def test_the_previous_secret_counts_where_that_of_the_environment_does(
    gateway: Any, protected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo()
    monkeypatch.setenv("WEBHOOK_SECRET", "new")
    monkeypatch.setenv("WEBHOOK_SECRET_PREVIOUS", "old")
    http = await gateway()
    answers = [
        await http.post(f"/webhooks/{name}?secret={secret}", content=PULL, headers=JSON)
        for name in ("echo", "protected")
        for secret in ("new", "old", "older")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 401, 401]


async def test_a_refused_sender_is_reported_where_an_endpoint_is(
    gateway: Any, protected: None, reports: Reports
) -> None:
    http = await gateway()
    await http.post("/webhooks/protected", content=PULL, headers=JSON)
    await http.post("/webhooks/elsewhere", content=PULL, headers=JSON)
    assert reports.refused == [("/webhooks/protected", 401, "unauthorized")]


async def test_what_wrong_secrets_suggest_is_for_the_owner(
    gateway: Any, protected: None, reports: Reports
) -> None:
    http = await gateway()
    for secret in ("wrong", "sha256=00"):
        headers = JSON | {"x-webhook-secret": secret}
        answer = await http.post("/webhooks/protected", content=PULL, headers=headers)
        assert answer.content == b'{"error": "unauthorized"}'
    [hint] = reports.hints
    assert "The Hub signs nothing" in hint


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": "\xff"}', "not_json"),
        ('{"a": 1}'.encode("utf-16"), "not_json"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not_json"),
        (b"[" * 100, "not_json"),
        (b"[]", "not_object"),
        (b'"text"', "not_object"),
        (b"1", "not_object"),
        (b"null", "not_object"),
    ],
)
async def test_what_is_no_json_object_is_a_400(
    gateway: Any, journal: Journal, body: bytes, word: str
) -> None:
    echo()
    http = await gateway()
    answer = await http.post("/webhooks/echo", content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (400, {"error": word})
    assert await journal.get(1) is None


async def test_a_body_that_would_take_too_much_memory_is_a_413(
    gateway: Any, journal: Journal
) -> None:
    echo()
    http = await gateway()
    body = b'{"a": [' + b"{}," * 200_000 + b"{}]}"
    answer = await http.post("/webhooks/echo", content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (413, {"error": "too_many_parts"})
    assert await journal.get(1) is None


async def test_bodies_of_senders_that_are_kept_leave_room_for_others(
    gateway: Any, journal: Journal
) -> None:
    go_on = asyncio.Event()

    @webhook_endpoint(max_concurrency=1)
    async def slow(payload: dict[str, Any]) -> None:
        await go_on.wait()

    http = await gateway(wait=60)
    body = b'{"a": "' + b"x" * (MAX_BODY - 10) + b'"}'
    answering = []
    async with asyncio.timeout(60):
        for number in range(6):
            post = http.post("/webhooks/slow", content=body, headers=JSON)
            answering.append(asyncio.create_task(post))
            while len(await unfinished(journal)) == number and not answering[-1].done():
                await asyncio.sleep(0)
    go_on.set()
    assert [answer.status_code for answer in await asyncio.gather(*answering)] == [200] * 6


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"a": 1}', rb'{"a": "\ud83d", "b": "\\ud83d"}'])
async def test_a_mark_or_half_an_emoji_is_recorded_as_it_came(
    gateway: Any, journal: Journal, body: bytes
) -> None:
    echo()
    http = await gateway()
    answer = await http.post("/webhooks/echo", content=body, headers=JSON)
    assert answer.status_code == 200
    recorded = await journal.get(1)
    assert recorded and recorded.body == body


@pytest.mark.parametrize("body", [b'{"a": 1e999}', b'{"a": 1, "a": 2}', rb'{"a": "\u0000"}', b"{}"])
async def test_odd_json_objects_are_kept_as_they_came(
    gateway: Any, journal: Journal, body: bytes
) -> None:
    @webhook_endpoint
    async def raw(request: Request) -> Response:
        return Response(await request.body())

    http = await gateway()
    answer = await http.post("/webhooks/raw", content=body, headers=JSON)
    assert (answer.status_code, answer.content) == (200, body)
    delivery = await recorded(journal)
    assert delivery.body == body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        JSON | {"content-encoding": "gzip"},
    ],
)
async def test_other_media_types_are_a_415(gateway: Any, headers: dict[str, str]) -> None:
    echo()
    http = await gateway()
    answer = await http.post("/webhooks/echo", content=PULL, headers=headers)
    assert (answer.status_code, answer.json()) == (415, {"error": "unsupported_media_type"})


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
async def test_json_has_several_names(gateway: Any, media_type: str) -> None:
    echo()
    http = await gateway()
    headers = {"content-type": media_type}
    answer = await http.post("/webhooks/echo", content=PULL, headers=headers)
    assert answer.status_code == 200


async def test_a_handler_of_the_request_takes_any_media_type(gateway: Any) -> None:
    @webhook_endpoint
    async def form(request: Request) -> str:
        return (await request.body()).decode()

    http = await gateway()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await http.post("/webhooks/form", content=b"From=%2B1", headers=headers)
    assert (answer.status_code, answer.json()) == (200, "From=%2B1")


async def test_a_body_that_is_too_big_is_a_413(gateway: Any, journal: Journal) -> None:
    echo()
    http = await gateway()
    body = b'{"a": "' + b"x" * MAX_BODY + b'"}'

    async def chunks() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    for content in (body, chunks()):
        answer = await http.post("/webhooks/echo", content=content, headers=JSON)
        assert (answer.status_code, answer.json()) == (413, {"error": "too_big"})
    assert await journal.get(1) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_an_endpoint_takes_post_only(gateway: Any, method: str) -> None:
    echo()
    http = await gateway()
    answer = await http.request(method, "/webhooks/echo")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/webhooks",
        "/webhooks/",
        "/webhooks/nope",
        "/x",
    ],
)
async def test_other_paths_are_a_404(gateway: Any, path: str) -> None:
    echo()
    http = await gateway()
    answer = await http.post(path, content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})


async def test_the_owner_needs_no_secret_and_learns_what_became_of_it(
    gateway: Any, protected: None, journal: Journal
) -> None:
    http = await gateway()
    answer = await http.post("/webhooks/protected", content=PULL, headers=JSON | OWNER)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert answer.headers["hfhooks-delivery"] == "1"
    assert answer.headers["hfhooks-status"] == "succeeded"
    assert (await recorded(journal)).origin == "trigger"


async def test_only_the_owner_replays(gateway: Any, journal: Journal) -> None:
    echo()
    http = await gateway()
    for headers in (OWNER, {}):
        await http.post("/webhooks/echo", content=PULL, headers=JSON | headers | REPLAY)
    assert [(await recorded(journal, id)).origin for id in (1, 2)] == ["replay", "hub"]


async def test_headers_of_ours_reach_no_handler(gateway: Any) -> None:
    @webhook_endpoint
    def names(request: Request) -> list[str]:
        return sorted(request.headers)

    http = await gateway()
    headers = JSON | OWNER | {"x-webhook-secret": "mine", "hfhooks-outcome": "raised"}
    answer = await http.post("/webhooks/names", content=PULL, headers=headers)
    assert "x-webhook-secret" in answer.json()
    assert not [name for name in answer.json() if name.startswith("hfhooks-")]


async def test_only_the_owner_learns_the_pid(gateway: Any) -> None:
    echo()
    http = await gateway()
    assert "pid" in (await http.get("/healthz", headers=OWNER)).json()


async def test_the_landing_page_shows_endpoints_and_no_payload(gateway: Any) -> None:
    @webhook_endpoint("/a", on="repo.content:update", repo="dataset:me/*")
    def handler(payload: dict[str, Any]) -> None: ...

    http = await gateway()
    await http.post("/webhooks/a", content=PULL, headers=JSON)
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for words in ("http://hooks.test</", "/webhooks/a", "repo.content:update", "dataset:me/*"):
        assert words.removesuffix("</") in answer.text
    assert "https://huggingface.co/settings/webhooks" in answer.text
    assert "gpt2" not in answer.text and "<script" not in answer.text
    assert (await http.head("/")).status_code == 200
    assert (await http.post("/")).status_code == 405


Stub = Callable[[float], Gateway]


@pytest.fixture
def stub(journal: Journal, dispatcher: Dispatcher, reports: Reports) -> Stub:
    """Return what makes a gateway that has heard of no script yet."""

    def make(wait: float) -> Gateway:
        options: dict[str, Any] = {
            "url": "http://x",
            "wait": wait,
            "token": TOKEN,
            "why_idle": lambda: None,
        }
        return Gateway(journal, dispatcher, reports, **options)

    return make


async def send(gateway: Gateway, tasks: Tasks, path: str) -> tuple[int, bytes]:
    async with listening(gateway, tasks) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.post(path, content=PULL, headers=JSON)
        return answer.status_code, answer.content


async def test_before_the_script_is_loaded_a_sender_waits(stub: Stub, tasks: Tasks) -> None:
    assert await send(stub(0.02), tasks, "/webhooks/a") == (503, b'{"error": "starting"}')
    gateway = stub(5)
    sending = asyncio.create_task(send(gateway, tasks, "/webhooks/b"))
    await asyncio.sleep(0)
    gateway.publish([Endpoint("a")])
    assert await sending == (404, b'{"error": "not_found"}')


async def test_a_gateway_that_stops_takes_no_more_deliveries(
    stub: Stub, tasks: Tasks, journal: Journal
) -> None:
    gateway = stub(5)
    gateway.publish([Endpoint("a")])
    gateway.stop()
    assert await send(gateway, tasks, "/webhooks/a") == (503, b'{"error": "stopping"}')
    assert await journal.get(1) is None


@IN_MEMORY
async def test_a_journal_that_fails_is_a_503_and_no_handler_runs(
    gateway: Any, journal: MemoryJournal, reports: Reports
) -> None:
    echo()
    http = await gateway()
    journal.become(Condition("failed", DiskError("the disk says no.")))
    answer = await http.post("/webhooks/echo", content=PULL, headers=JSON)
    assert (answer.status_code, answer.json()) == (503, {"error": "unavailable"})
    assert answer.headers["retry-after"] == "60"
    assert reports.finished == []


async def test_the_prefix_may_come_twice(gateway: Any) -> None:
    """As huggingface_hub has it for `add_webhook("/webhooks/a")`."""

    @webhook_endpoint("/webhooks/a")
    def a(payload: dict[str, Any]) -> str:
        return "a"

    @webhook_endpoint("/webhooks/webhooks/b")
    def b(payload: dict[str, Any]) -> str:
        return "b"

    http = await gateway()
    for path, answer in (("a", "a"), ("webhooks/a", "a"), ("webhooks/b", "b")):
        assert (await http.post(f"/webhooks/{path}", json={})).json() == answer
    assert (await http.post("/webhooks/b", json={})).status_code == 404
    assert (await http.post("/webhooks/webhooks/webhooks/a", json={})).status_code == 404
