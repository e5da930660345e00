import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from threading import current_thread

import pytest

from hfhooks.errors import Fault
from hfhooks.tasks import CallThread, Tasks, in_thread, interruptibly, run
from tests.faults.inventory import proves
from tests.harness import until


class Owner:
    """Hears of what its tasks come to."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.ended_by: list[Fault] = []
        self.tasks = Tasks(self.faults.append, self.ended_by.append, first_pause=0.001)
        self.starts = 0
        self.is_broken = True

    async def fail(self) -> None:
        self.starts += 1
        if self.is_broken:
            raise LookupError("nobody foresaw it")


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    owner = Owner()
    yield owner
    await owner.tasks.close()


async def test_a_fault_of_one_of_many_is_told_and_is_over(owner: Owner) -> None:
    await asyncio.wait({owner.tasks.one("a key", owner.fail())})
    assert [str(fault) for fault in owner.faults] == [
        "a fault in a key: LookupError: nobody foresaw it."
    ]
    assert (owner.starts, owner.ended_by) == (1, [])


async def test_a_fault_of_the_core_is_told_and_is_the_end(owner: Owner) -> None:
    await asyncio.wait({owner.tasks.core("listening", owner.fail())})
    assert owner.ended_by == owner.faults and len(owner.faults) == 1


async def test_a_helper_is_started_again_and_again_and_is_degraded_meanwhile(owner: Owner) -> None:
    helping = owner.tasks.helper("the tunnel", owner.fail)
    await until(lambda: owner.starts == 3 and owner.tasks.degraded)
    assert owner.tasks.degraded == {"the tunnel"} and owner.ended_by == []
    owner.is_broken = False
    await helping
    assert owner.tasks.degraded == set()
    assert len(owner.faults) == owner.starts - 1


async def test_what_is_cancelled_has_no_fault(owner: Owner) -> None:
    tasks = [
        owner.tasks.one("one", asyncio.Event().wait()),  # type: ignore[arg-type] # it returns True
        owner.tasks.helper("a helper", owner.fail),
    ]
    await until(lambda: owner.tasks.degraded)
    owner.faults.clear()
    await owner.tasks.close()
    assert all(task.cancelled() for task in tasks) and owner.faults == []


@proves("hfhooks-call", "hfhooks-reads")
@pytest.mark.parametrize("makes_calls", [in_thread, None], ids=["hfhooks-call", "CallThread"])
async def test_a_call_that_fails_in_a_thread_fails_where_it_is_awaited(makes_calls: object) -> None:
    thread = CallThread("hfhooks-reads")
    call = in_thread if makes_calls else thread.call
    with pytest.raises(SystemExit):
        await call(sys.exit)
    assert (await call(current_thread)).name.startswith("hfhooks-")
    await thread.close()


@proves("hfhooks-interruptible")
def test_what_an_interruptible_call_raises_is_raised() -> None:
    assert interruptibly(int, "17") == 17
    with pytest.raises(ValueError, match="x"):
        interruptibly(int, "x")


WAITS_FOR_A_LOCK = """
import os, signal, sqlite3, sys
from hfhooks.tasks import interruptibly

signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
first, second = (sqlite3.connect(sys.argv[1], timeout=3600, check_same_thread=False) for _ in "12")
first.execute("BEGIN EXCLUSIVE")
print("waits", flush=True)
interruptibly(second.execute, "BEGIN EXCLUSIVE")
"""


def test_a_signal_is_handled_while_an_interruptible_call_waits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS_FOR_A_LOCK, str(tmp_path / "journal.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waits\n"
        process.terminate()
        assert process.wait(timeout=60) == 7


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_it_runs_on_uvloop_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, has_uvloop: bool
) -> None:
    if has_uvloop:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(main()).startswith("uvloop" if has_uvloop else "asyncio")
