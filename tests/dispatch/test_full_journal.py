"""What is known and cannot be recorded yet, or ever."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import DiskError, JournalFull
from hfhooks.journal.memory import MemoryJournal
from hfhooks.model.condition import Condition
from hfhooks.tasks import Tasks
from tests.dispatch.test_dispatcher import FakeSender, FakeWorker, new, train
from tests.harness import until
from tests.journal.engines import record
from tests.wired import Reports, recorded

FULL = Condition("full", JournalFull("no room."))


@pytest.fixture
async def journal() -> AsyncIterator[MemoryJournal]:
    journal = MemoryJournal()
    yield journal
    await journal.close()


@pytest.fixture
async def dispatcher(journal: MemoryJournal, reports: Reports, tasks: Tasks) -> Dispatcher:
    dispatcher = Dispatcher(journal, reports, tasks, again_after=0.001)
    await dispatcher.start()
    return dispatcher


async def begun(journal: MemoryJournal, dispatcher: Dispatcher) -> tuple[FakeWorker, FakeSender]:
    """Let a handler run that is held back."""
    worker = FakeWorker()
    worker.holds = True
    dispatcher.use(worker, train())
    turn = dispatcher.expect("train")
    turn.arrived(await record(journal, new(), turn.takes), sender := FakeSender())
    return worker, sender


async def test_what_a_full_disk_does_not_take_is_written_when_there_is_room(
    journal: MemoryJournal, dispatcher: Dispatcher, reports: Reports
) -> None:
    worker, sender = await begun(journal, dispatcher)
    journal.become(FULL)
    worker.let_go()
    assert await sender.status() == "succeeded"
    assert reports.finished == []
    journal.become(Condition())
    await until(lambda: reports.finished)
    assert (await recorded(journal)).status == "succeeded"
    await dispatcher.drain(grace=0)


@pytest.mark.parametrize("condition", [FULL, Condition("failed", DiskError("no disk."))])
async def test_draining_ends_where_nothing_can_be_recorded(
    journal: MemoryJournal, dispatcher: Dispatcher, condition: Condition
) -> None:
    _, sender = await begun(journal, dispatcher)
    journal.become(condition)
    async with asyncio.timeout(5):
        await dispatcher.drain(grace=0.01)
    assert await sender.status() is None
    assert (await recorded(journal)).status == "running"  # and so the next host runs it again
