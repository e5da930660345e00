"""What is served now, from what runs the handlers to the gateway, the journal and the news."""

from collections.abc import AsyncIterator

import pytest

from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import LoadError
from hfhooks.gateway.app import Gateway
from hfhooks.http.limits import Room
from hfhooks.http.messages import Request
from hfhooks.journal import Journal
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.happenings import Broken, Note, Reloaded
from hfhooks.serving.announce import Announcement, Known
from hfhooks.serving.service import Service
from hfhooks.tasks import Tasks
from tests.dispatch.test_dispatcher import RAISED, FakeWorker
from tests.harness import polled, until
from tests.wired import IN_MEMORY, NOW, Asked, Reports, recorded, settle

pytestmark = IN_MEMORY
KNOWN = Known("127.0.0.1", 7860, "", 5.0, "memory:", "t0ken")
A, B, C = Endpoint("a"), Endpoint("b"), Endpoint("c")
BROKEN = Broken(LoadError("app.py:1: SyntaxError"), has_worker=False)


class Rig:
    """A service, the gateway that it tells, and who sends to that."""

    def __init__(
        self, journal: Journal, dispatcher: Dispatcher, reports: Reports, tasks: Tasks
    ) -> None:
        self.journal, self.dispatcher, self.reports = journal, dispatcher, reports
        self.gateway = Gateway(
            journal,
            dispatcher,
            reports,
            url="http://x",
            wait=0.05,
            token="t0ken",
            why_idle=lambda: self.service.why_idle(),
            now=lambda: NOW,
        )
        announcement = Announcement(KNOWN, reports, lambda: None)
        self.service = Service(journal, self.gateway, dispatcher, announcement, tasks)

    async def load(
        self, *endpoints: Endpoint, worker: FakeWorker | None = None, reloaded: bool = False
    ) -> None:
        """Put a worker with these endpoints in service, and let that be known everywhere."""
        self.service.use(worker or FakeWorker(), endpoints, None, 0.5 if reloaded else None)
        await self.news()

    async def news(self) -> None:
        await polled()
        await settle(self.journal)

    async def post(self, name: str, secret: str | None = None) -> int:
        headers = [("content-type", "application/json")]
        headers += [("x-webhook-secret", secret)] if secret else []
        request = Request("POST", f"/webhooks/{name}".encode(), headers)
        request.accept(Room(), asked := Asked())
        request.take(b"{}")
        request.complete()
        self.gateway.respond(request)
        return (await asked.answer).status

    @property
    def notes(self) -> list[str]:
        return [each.text for each in self.reports.all if isinstance(each, Note)]

    @property
    def reloads(self) -> list[tuple[float, list[str], list[str]]]:
        found = [each for each in self.reports.all if isinstance(each, Reloaded)]
        return [(each.seconds, list(each.appeared), list(each.vanished)) for each in found]


@pytest.fixture
async def rig(
    journal: Journal, dispatcher: Dispatcher, reports: Reports, tasks: Tasks
) -> AsyncIterator[Rig]:
    rig = Rig(journal, dispatcher, reports, tasks)
    yield rig
    await dispatcher.drain(grace=0)


async def test_a_worker_gets_the_deliveries_to_its_endpoints(rig: Rig) -> None:
    await rig.load(A, worker=(worker := FakeWorker()))
    assert [await rig.post(name) for name in ("a", "b")] == [200, 404]
    assert worker.endpoints == ["a"] and list(rig.service.endpoints) == [A]


async def test_the_newest_worker_gets_them(rig: Rig) -> None:
    await rig.load(A, worker=(first := FakeWorker()))
    await rig.load(A, B, worker=(second := FakeWorker()), reloaded=True)
    assert [await rig.post(name) for name in ("a", "b")] == [200, 200]
    assert (first.endpoints, second.endpoints) == ([], ["a", "b"])


async def test_without_a_worker_they_wait(rig: Rig) -> None:
    await rig.load(A)
    rig.service.lose()
    assert await rig.post("a") == 202
    assert (await recorded(rig.journal)).status == "queued"


async def test_why_no_handler_can_be_called_is_said(rig: Rig) -> None:
    found = [rig.service.why_idle()]
    rig.service.tell(BROKEN)
    found.append(rig.service.why_idle())
    await rig.load(A)
    found.append(rig.service.why_idle())
    rig.service.tell(BROKEN)  # the version before goes on
    found.append(rig.service.why_idle())
    rig.service.lose()
    found.append(rig.service.why_idle())
    cannot = "the scripts cannot be loaded"
    assert found == ["no worker", cannot, None, None, cannot]


async def test_a_first_version_is_no_reload(rig: Rig) -> None:
    await rig.load(A)
    assert rig.reloads == []


async def test_a_reload_says_what_has_come_and_gone(rig: Rig) -> None:
    await rig.load(A, B)
    await rig.load(C, B, Endpoint("d"), reloaded=True)
    assert rig.reloads == [(0.5, ["/webhooks/c", "/webhooks/d"], ["/webhooks/a"])]


async def test_what_is_served_is_kept_without_its_secrets(rig: Rig) -> None:
    await rig.load(A)
    await rig.load(Endpoint("b", secrets=("s3cret",)), reloaded=True)
    assert list(await rig.journal.endpoints()) == [Published(B, "script")]


async def test_an_endpoint_that_loses_its_secret_stays_closed_and_that_is_said(rig: Rig) -> None:
    await rig.load(Endpoint("a", secrets=("s3cret",)), B)
    await rig.load(A, B, reloaded=True)
    assert [await rig.post("a"), await rig.post("a", "s3cret"), await rig.post("b")] == [
        401,
        200,
        200,
    ]
    [note] = rig.notes
    assert note.startswith("/webhooks/a has no secret any more")


async def test_an_endpoint_that_gets_another_secret_has_that_alone(rig: Rig) -> None:
    for secret in ("before", "after"):
        await rig.load(Endpoint("a", secrets=(secret,)), reloaded=secret == "after")
    assert [await rig.post("a", secret) for secret in ("before", "after")] == [401, 200]
    assert rig.notes == []


async def test_while_a_first_version_is_broken_the_endpoints_of_the_last_run_accept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = [A, Endpoint("b", secrets=("of-all",)), Endpoint("c", secrets=("of-the-script",))]
    await rig.journal.publish([Published.of(each, ("of-all",)) for each in served])
    monkeypatch.setenv("WEBHOOK_SECRET", "of-all")
    rig.service.tell(BROKEN)
    await rig.news()
    assert BROKEN in rig.reports.all
    assert [await rig.post(name, "of-all") for name in ("a", "b", "c")] == [202, 202, 503]
    assert [await rig.post(name) for name in ("a", "b")] == [401, 401]


async def test_a_version_that_is_mended_at_once_is_the_one_that_is_served(rig: Rig) -> None:
    await rig.journal.publish([Published.of(B, ())])
    rig.service.tell(BROKEN)
    await rig.load(A)
    assert [await rig.post(name) for name in ("a", "b")] == [200, 404]


async def test_a_later_version_that_is_broken_changes_nothing(rig: Rig) -> None:
    await rig.load(A)
    await rig.journal.publish([Published.of(B, ())])
    rig.service.tell(BROKEN)
    await rig.news()
    assert [await rig.post(name) for name in ("a", "b")] == [200, 404]


@pytest.mark.parametrize(
    ("number", "note"),
    [
        (0, []),
        (1, ["a delivery retried with the new code."]),
        (2, ["2 deliveries retried with the new code."]),
    ],
)
async def test_what_raised_is_retried_with_the_new_code(
    rig: Rig, number: int, note: list[str]
) -> None:
    await rig.load(A, worker=FakeWorker(*[RAISED] * number))
    for _ in range(number):
        assert await rig.post("a") == 202
    await rig.load(A, worker=(mended := FakeWorker()), reloaded=True)
    await until(lambda: len(mended.claims) == number)
    await rig.news()
    assert rig.notes == note


async def test_what_fails_after_the_answer_is_recorded_and_told(rig: Rig) -> None:
    await rig.load(A)
    assert await rig.post("a") == 200
    await settle(rig.journal)
    rig.service.amend(1, 1, "Traceback")
    await until(lambda: rig.reports.finished[-1].is_amended)
    assert (await recorded(rig.journal)).status == "failed"
