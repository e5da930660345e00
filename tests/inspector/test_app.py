"""What a server tells its own machine, and nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from hfhooks.http.listener import Listener, awaiting, bind
from hfhooks.inspector.app import Inspector
from hfhooks.inspector.metrics import Gauges, Metrics
from hfhooks.journal.memory import MemoryJournal
from hfhooks.model.delivery import Wanted
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.tasks import Tasks
from tests.harness import payload_bytes, request, wait_until
from tests.inspector.test_metrics import NOW, samples
from tests.journal.engines import NEW, finish, record, taken

PULL = payload_bytes("pr_create_v3_docs")


TOKEN = {"hfhooks-token": "the-owner"}


@pytest.fixture
async def http(tasks: Tasks) -> AsyncIterator[httpx.AsyncClient]:
    journal = MemoryJournal()
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]

    async def gauges() -> Gauges:
        return NOW

    async def cancel(ids: Sequence[int]) -> Sequence[int]:
        return await journal.cancel(Wanted(ids=ids))

    url = f"http://127.0.0.1:{port}"
    inspector = Inspector(url, Metrics(), gauges, journal, cancel, "the-owner")
    listener = Listener(awaiting(inspector.respond, tasks), sock, tasks, patience=1)
    task = asyncio.create_task(listener.listen())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        client.journal = journal  # type: ignore[attr-defined] # for the tests that record
        yield client
    listener.stop()
    await task
    await journal.close()


async def test_what_has_failed_is_retried_and_what_is_finished_deleted(http: Any) -> None:
    journal = http.journal
    for status in ("failed", "failed", "succeeded"):
        assert await finish(journal, await taken(journal), status)
    again = await http.post("/deliveries/retry?id=2", headers=TOKEN)
    assert again.json() == [2]
    assert (await http.post("/deliveries/retry", headers=TOKEN)).json() == [1]
    assert (await http.post("/deliveries/prune?before=1e12", headers=TOKEN)).json() == 1
    assert await journal.counts() == {("train", "queued"): 2}


async def test_what_waits_or_runs_is_cancelled(http: Any) -> None:
    journal = http.journal
    for name in ("train", "train", "train", "a b", "gone"):
        await record(journal, replace(NEW, endpoint=name))
    await journal.publish([Published.of(Endpoint(name), ()) for name in ("train", "a b")])

    async def cancelled(query: str) -> Any:
        return (await http.post(f"/deliveries/cancel?{query}", headers=TOKEN)).json()

    assert await cancelled("id=1&id=3&id=404") == [1, 3]
    assert await cancelled("orphans=1") == [5]
    assert await cancelled("endpoint=a+b") == [4]
    assert await cancelled("endpoint=nothing") == await cancelled("id=1") == []
    assert (await journal.get(2)).status == "queued"


@pytest.mark.parametrize(
    "path", ["/deliveries/retry?id=1", "/deliveries/prune?before=1", "/deliveries/cancel?id=1"]
)
async def test_only_the_owner_may_change_what_is_recorded(
    http: httpx.AsyncClient, path: str
) -> None:
    assert (await http.post(path)).status_code == 401
    assert (await http.post(path, headers={"hfhooks-token": "another"})).status_code == 401
    assert (await http.get(path, headers=TOKEN)).status_code == 405
    assert (await http.post(path, headers=TOKEN | {"host": "evil.example"})).status_code == 421
    assert (await http.post(path, headers=TOKEN)).json() in ([], 0)


@pytest.mark.parametrize(
    "path", [f"/deliveries/{what}" for what in ("retry?id=x", "prune", "cancel", "cancel?id=x")]
)
async def test_what_makes_no_sense_is_refused(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path, headers=TOKEN)).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_this_machine_may_ask(http: httpx.AsyncClient, host: str) -> None:
    answer = await http.get("/metrics", headers={"host": f"{host}:{http.base_url.port}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    assert samples(answer.text)["hfhooks_queue_length", ()] == 3


@pytest.mark.parametrize(
    "host", ["evil.test:{}", "localhost.evil.test:{}", "127.0.0.1", "0.0.0.0:{}", "localhost:1"]
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
async def test_by_another_name_nothing_is_told(
    http: httpx.AsyncClient, host: str, path: str
) -> None:
    answer = await http.get(path, headers={"host": host.format(http.base_url.port)})
    assert (answer.status_code, answer.json()) == (421, {"error": "misdirected"})


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://localhost:1", ""])
@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/deliveries/retry?id=1"])
async def test_the_page_of_a_stranger_is_told_nothing(
    http: httpx.AsyncClient, origin: str, path: str
) -> None:
    answer = await http.get(path, headers=TOKEN | {"origin": origin})
    assert (answer.status_code, answer.json()) == (403, {"error": "forbidden"})


async def test_a_page_of_its_own_is_told(http: httpx.AsyncClient) -> None:
    origin = f"http://localhost:{http.base_url.port}"
    assert (await http.get("/metrics", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/webhooks/train", 404),
        ("POST", "/metrics", 405),
        ("OPTIONS", "/metrics", 405),
        ("GET", "/" + "x" * 3000, 414),
    ],
)
async def test_what_else_is_asked(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await http.request(method, path)).status_code == status


def reloads(server: Any) -> list[dict[str, Any]]:
    return [event for event in server.events if event["type"] == "reload"]


def test_a_server_counts(start: Callable[..., Any], script: Callable[..., Path]) -> None:
    text = "from hfhooks import webhook_endpoint\n\n@webhook_endpoint\ndef train():\n    return 1\n"
    server = start(script(text), "--reload")
    assert server.post("train", PULL).status == 200
    assert server.post("train", b"[]").status == 400
    for number, saved in enumerate((text + "\nX = 1\n", text + "\nX = (\n"), start=1):
        script(saved)
        wait_until(lambda: len(reloads(server)) == number)  # noqa: B023 # it is awaited here
    url = server.ready["inspector_url"]
    answer = request("GET", f"{url}/metrics")
    found = samples(answer.body.decode())
    assert found["hfhooks_deliveries_total", ("train", "succeeded")] == 1
    assert found["hfhooks_refused_requests_total", ("400",)] == 1
    assert found["hfhooks_reloads_total", ("true",)] == 1
    assert found["hfhooks_reloads_total", ("false",)] == 1
    assert request("GET", f"{server.ready['local_url']}/metrics").status == 404


def test_the_port_can_be_chosen_and_is_not_the_worlds(
    start: Callable[..., Any], script: Callable[..., Path]
) -> None:
    text = "from hfhooks import webhook_endpoint\n\n@webhook_endpoint\ndef train():\n    return 1\n"
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    server = start(script(text), "--host", "0.0.0.0", "--inspector-port", str(port))
    assert server.ready["inspector_url"] == f"http://127.0.0.1:{port}"
