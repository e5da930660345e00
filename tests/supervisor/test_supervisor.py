import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from hfhooks.errors import Fault, HfhooksError, LoadError
from hfhooks.http.passage import Site
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Broken, Happening, Note
from hfhooks.supervisor import supervisor
from hfhooks.supervisor.child import Worker
from hfhooks.supervisor.options import Options
from hfhooks.supervisor.spares import NUMBER
from hfhooks.supervisor.spawn import Spawned
from hfhooks.supervisor.supervisor import (
    CHECK_AFTER,
    HALF_SAVED,
    Supervisor,
)
from hfhooks.supervisor.targets import find_targets
from hfhooks.tasks import Tasks
from tests.harness import JSON, until
from tests.zygote import Forked

Script = Callable[..., Path]
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"


class Watched:
    """A supervisor, and the work host that it tells of its worker."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.ready: asyncio.Queue[tuple[Worker, Sequence[Endpoint]]] = asyncio.Queue()
        self.reloads: list[float] = []
        self.told: list[Happening] = []
        self.losses = 0
        self.late: list[tuple[int, int, str | None]] = []
        self.faults: list[Fault] = []
        self.process = Spawned()
        self.tasks = Tasks(self.faults.append, self.faults.append)
        self.supervisor = Supervisor(
            lambda: find_targets([str(path)]), self, self.tasks, self.process, Options(**options)
        )

    async def start(self) -> tuple[Worker, Sequence[Endpoint]]:
        await self.supervisor.start()
        return await self.ready.get()

    async def next(self) -> tuple[Worker, Sequence[Endpoint]]:
        async with asyncio.timeout(30):
            return await self.ready.get()

    def use(
        self,
        worker: Worker,
        endpoints: Sequence[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        self.ready.put_nowait((worker, endpoints))
        if reloaded_in is not None:
            self.reloads.append(reloaded_in)

    def lose(self) -> None:
        self.losses += 1

    def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        self.late.append((id, number, error))

    def tell(self, happening: Happening) -> None:
        self.told.append(happening)

    @property
    def broken(self) -> list[HfhooksError]:
        return [each.error for each in self.told if isinstance(each, Broken)]

    @property
    def notes(self) -> list[str]:
        return [each.text for each in self.told if isinstance(each, Note)]

    @property
    def spares(self) -> list[Worker]:
        return self.supervisor.spares.workers

    @property
    def worker(self) -> Worker:
        assert self.supervisor.worker
        return self.supervisor.worker


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Path], Watched]]:
    monkeypatch.setattr(subprocess, "Popen", Forked)  # tests/worker starts real ones
    started: list[Spawned] = []

    def spawned() -> Spawned:
        started.append(Spawned())
        return started[-1]

    monkeypatch.setattr(supervisor, "Spawned", spawned)
    watched: list[Watched] = []

    def watch(path: Path, **options: Any) -> Watched:
        watched.append(Watched(path, **options))
        return watched[-1]

    yield watch
    for each in watched:
        await each.supervisor.stop(5)
        assert [process.pid for process in started if process.sock.fileno() >= 0] == []
        await each.tasks.close()
        each.process.close()
        assert each.faults == []


def asked(worker: Worker, endpoint: str = "a", id: int = 1) -> "asyncio.Future[Ending]":
    """Have the handler called; return what will tell how that ended."""
    delivery = Recorded(endpoint, 0.0, "", tuple(JSON.items()), b"{}")
    ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
    worker.attempt(Claim(id, delivery, 1, ""), None, ended.set_result)
    return ended


async def ask(worker: Worker) -> bytes:
    return (await asked(worker)).body


async def test_a_worker_is_ready_with_its_endpoints(watch: Any, script: Script) -> None:
    worker, endpoints = await watch(script(HANDLER)).start()
    assert [endpoint.name for endpoint in endpoints] == ["a"]
    assert await ask(worker) == b'"a"'


async def test_many_are_called_at_once_and_each_answer_finds_its_delivery(
    watch: Any, script: Script
) -> None:
    text = "import random, time\nfrom hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint(max_concurrency=50)\ndef a(payload: dict):\n"
    text += "    time.sleep(random.random() / 10)\n    return payload['number']\n"
    worker, _ = await watch(script(text)).start()

    async def one(number: int) -> bytes:
        body = b'{"number": %d}' % number
        delivery = Recorded("a", 0.0, "", tuple(JSON.items()), body)
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        worker.attempt(Claim(number, delivery, 1, ""), None, ended.set_result)
        return (await ended).body

    assert await asyncio.gather(*map(one, range(200))) == [b"%d" % n for n in range(200)]


async def test_what_fails_after_the_answer_is_told(watch: Any, script: Script) -> None:
    text = "from fastapi import BackgroundTasks\nfrom hfhooks import webhook_endpoint\n"
    text += "@webhook_endpoint\ndef a(tasks: BackgroundTasks): tasks.add_task(lambda: 1 / 0)\n"
    watched = watch(script(text))
    worker, _ = await watched.start()
    assert await ask(worker) == b"null"
    await until(lambda: watched.late)
    [(id, number, error)] = watched.late
    assert (id, number) == (1, 1) and "ZeroDivisionError" in error


async def test_a_script_that_cannot_be_loaded_keeps_its_words_and_exit_code(
    watch: Any, script: Script
) -> None:
    path = script("from hfhooks import WebhooksServer\nWebhooksServer(webhook_secret='')")
    with pytest.raises(HfhooksError, match="webhook_secret is empty") as caught:
        await watch(path).start()
    assert caught.value.exit_code == 4
    assert caught.value.help == "Give it a value, or unset it."


async def test_a_fault_of_ours_keeps_nobody_waiting(
    watch: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise TypeError("no such field")

    monkeypatch.setattr(Endpoint, "from_json", fail)
    with pytest.raises(Fault, match="a fault in loading: TypeError: no such field"):
        await watch(script(HANDLER)).start()


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("import os\nos._exit(7)", "exited with code 7"),
        ("import os\nos.kill(os.getpid(), 9)", "was ended by signal 9 (SIGKILL)"),
        # A program that it started has its pipes, and lives on.
        ("import os, time\nif os.fork() == 0: time.sleep(2)\nos._exit(7)", "code 7"),
    ],
)
async def test_a_script_that_ends_its_process_while_loading(
    watch: Any, script: Script, text: str, ending: str
) -> None:
    with pytest.raises(LoadError, match=re.escape(f"{ending} while the script was loading")):
        await watch(script(text)).start()


async def test_a_worker_that_dies_is_replaced(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    os.kill(watched.process.pid, signal.SIGKILL)
    worker, _ = await watched.next()
    assert watched.notes == ["the worker was ended by signal 9 (SIGKILL); starting another."]
    assert watched.losses == 1
    assert await ask(worker) == b'"a"'


async def test_a_worker_that_hangs_is_replaced(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER), ping_every=0.05)
    await watched.start()
    os.kill(watched.process.pid, signal.SIGSTOP)
    worker, _ = await watched.next()
    assert watched.notes == ["the worker did not answer for 0.3 s; starting another."]
    assert await ask(worker) == b'"a"'


async def test_what_held_a_worker_that_hangs_is_named(watch: Any, script: Script) -> None:
    """It has Python's lock, so that nothing else runs in its process."""
    text = f"import ctypes\n{HANDLER.replace('return', 'ctypes.PyDLL(None).sleep(60); return')}"
    watched = watch(script(text), ping_every=0.05)
    worker, _ = await watched.start()
    ending = asked(worker, id=12)
    await watched.next()
    assert watched.notes == [
        "the worker did not answer for 0.3 s while a #12 ran; starting another."
    ]
    assert (await ending).body == b"The worker did not answer for 0.3 s while this handler ran."


async def test_a_handler_that_blocks_the_others_is_said_and_not_killed(
    watch: Any, script: Script
) -> None:
    text = "import time\n" + HANDLER.replace("def a(): ", "async def a(): time.sleep(1); ")
    watched = watch(script(text), ping_every=0.2)
    worker, _ = await watched.start()
    assert await ask(worker) == b'"a"'
    [why] = watched.notes
    assert why.startswith("a (") and "should be `def`" in why
    assert watched.losses == 0


async def test_a_worker_that_cannot_be_replaced_is_tried_again(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    script("1 / 0")
    os.kill(watched.process.pid, signal.SIGKILL)
    await until(lambda: watched.broken)
    assert "ZeroDivisionError" in str(watched.broken[0])
    script(HANDLER)
    worker, _ = await watched.next()
    assert await ask(worker) == b'"a"'


async def test_a_worker_that_fails_to_load_and_lives_on_is_ended(
    watch: Any, script: Script
) -> None:
    """A thread of the script would keep Python, and the worker would still answer."""
    watched = watch(script(HANDLER))
    await watched.start()
    script("import threading\nthreading.Thread(target=threading.Event().wait).start()\n1 / 0")
    os.kill(watched.process.pid, signal.SIGKILL)
    await until(lambda: watched.broken)
    script(HANDLER)
    worker, _ = await watched.next()
    assert await ask(worker) == b'"a"'


async def test_a_worker_that_cannot_even_be_started_is_tried_again(
    watch: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(script(HANDLER))
    await watched.start()

    def refuse() -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(supervisor, "Spawned", refuse)  # as of a machine without room
    os.kill(watched.process.pid, signal.SIGKILL)
    await until(lambda: watched.broken)
    assert "Resource temporarily unavailable" in str(watched.broken[0])
    monkeypatch.setattr(supervisor, "Spawned", Spawned)
    worker, _ = await watched.next()
    assert await ask(worker) == b'"a"'


async def test_stopping_ends_the_worker(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    await watched.supervisor.stop(5)
    assert watched.process.wait(0) == 0


async def test_stopping_ends_a_worker_that_loads_and_starts_no_other(
    watch: Any, script: Script
) -> None:
    watched = watch(script(HANDLER), reload=True)
    await watched.start()
    await until(lambda: watched.spares and watched.spares[0].is_warm.is_set())
    script("import threading\nthreading.Event().wait()")
    await until(lambda: watched.supervisor.loading)
    loading = watched.supervisor.loading
    await watched.supervisor.stop(5)
    assert loading.is_gone and not watched.supervisor.loading  # and see the fixture


async def test_a_worker_that_says_what_is_no_frame_is_replaced(watch: Any, script: Script) -> None:
    text = "import os, socket\nfrom hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a():\n"
    text += (
        "    for number in range(3, 50):\n        try:\n            os.write(number, b'x' * 99)\n"
    )
    text += "        except OSError: pass\n"
    watched = watch(script(text))
    worker, _ = await watched.start()
    assert (await asked(worker)).kind == "crashed"
    assert (await watched.next())[0] is not worker


async def test_a_worker_that_will_not_stop_is_killed(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    os.kill(watched.process.pid, signal.SIGSTOP)
    await watched.supervisor.stop(0.05)
    assert watched.process.wait(0) == -signal.SIGKILL


def versioned(number: int, more: str = "") -> str:
    return HANDLER.replace("'a'", f"'{number}'") + more


@pytest.fixture
async def reloading(watch: Any, script: Script) -> Watched:
    """A supervisor that reloads, with its first worker at work and its spares warm."""
    watched: Watched = watch(script(versioned(1)), reload=True)
    await watched.start()
    await spares_are_warm(watched)
    return watched


async def spares_are_warm(watched: Watched) -> None:
    def are_warm() -> bool:
        spares = watched.spares
        are_enough = len(spares) == watched.supervisor.spares.number
        return are_enough and all(spare.is_warm.is_set() for spare in spares)

    await until(are_warm)


async def test_a_save_puts_the_new_code_in_service(reloading: Watched, script: Script) -> None:
    script(versioned(2))
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"2"'
    assert len(reloading.reloads) == 1 and 0 < reloading.reloads[0] < 30
    assert (reloading.losses, reloading.broken) == (0, [])


async def test_after_a_save_spares_stand_by_again(reloading: Watched, script: Script) -> None:
    for number in (2, 3, 4):
        script(versioned(number))
        worker, _ = await reloading.next()
        assert await ask(worker) == f'"{number}"'.encode()
    await spares_are_warm(reloading)


async def test_one_spare_stands_by_until_scripts_are_changed(
    reloading: Watched, script: Script
) -> None:
    assert len(reloading.spares) == 1
    script(versioned(2))
    await reloading.next()
    await spares_are_warm(reloading)
    assert len(reloading.spares) == NUMBER


async def test_the_old_worker_finishes_what_it_has_begun(
    watch: Any, script: Script, tmp_path: Path
) -> None:
    slow = f"""import pathlib, time
from hfhooks import webhook_endpoint
@webhook_endpoint
def a():
    while not pathlib.Path({str(tmp_path / "go-on")!r}).exists():
        time.sleep(0.01)
    return 'old'
"""
    watched = watch(script(slow), reload=True)
    worker, _ = await watched.start()
    answer = asked(worker)
    script(versioned(2))
    new, _ = await watched.next()
    assert await ask(new) == b'"2"'
    (tmp_path / "go-on").touch()
    assert (await answer).body == b'"old"'


HANGS = HANDLER.replace("return 'a'", "__import__('time').sleep(60)")


async def test_beyond_four_old_workers_the_one_that_loses_least_is_ended(
    watch: Any, script: Script
) -> None:
    watched = watch(script(HANGS), reload=True)
    workers = [(await watched.start())[0]]
    endings = [asked(workers[0])]
    for number in range(5):
        script(f"{HANGS}# {number}")
        workers.append((await watched.next())[0])
        endings.append(asked(workers[-1]))
    assert (await endings[4]).kind == "interrupted"  # the last one to have begun of the old ones
    await until(lambda: workers[4].is_gone)
    assert [worker.is_gone for worker in workers] == [False] * 4 + [True, False]
    assert any("too many earlier versions" in note for note in watched.notes)


async def test_what_an_old_worker_still_runs_is_said(watch: Any, script: Script) -> None:
    watched = watch(script(HANGS), reload=True)
    worker, _ = await watched.start()
    asked(worker, id=12)
    script(versioned(2))
    await watched.next()
    await until(lambda: watched.notes)
    [note] = watched.notes
    assert re.fullmatch(r"1 handler still runs in the version before: a #12, \d s", note)


async def test_an_old_worker_that_dies_is_said_with_what_ran_in_it(
    watch: Any, script: Script
) -> None:
    watched = watch(script(HANGS), reload=True)
    worker, _ = await watched.start()
    endings = [asked(worker, id=12), asked(worker, id=13)]
    script(versioned(2))
    await watched.next()
    os.kill(worker.pid, signal.SIGKILL)
    assert {(await ending).kind for ending in endings} == {"lost"}
    died = "an earlier worker was ended by signal 9 (SIGKILL) while a #12, a #13 ran."
    await until(lambda: died in watched.notes)


async def test_who_ends_a_worker_in_quarantine_is_named(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER.replace("return 'a'", "__import__('os')._exit(3)")))
    await watched.start()
    async with watched.supervisor.isolated() as isolated:
        await asked(isolated, id=12)
        await until(lambda: isolated.is_gone)
    assert watched.notes == ["the worker in quarantine exited with code 3 while a #12 ran."]


async def test_a_new_version_waits_for_what_an_old_one_holds(
    watch: Any, script: Script, tmp_path: Path
) -> None:
    """As a GPU's memory: one that is being left still has it."""
    held, go_on = tmp_path / "held", tmp_path / "go-on"
    holds = f"""import atexit, os, pathlib, time
from hfhooks import webhook_endpoint
held, go_on = pathlib.Path({str(held)!r}), pathlib.Path({str(go_on)!r})
if held.exists():
    raise MemoryError("out of memory")
@webhook_endpoint
def a():
    held.touch()
    while not go_on.exists():
        time.sleep(0.01)
    held.unlink()
    return 'old'
"""
    watched = watch(script(holds), reload=True)
    worker, _ = await watched.start()
    answer = asked(worker)
    await until(held.exists)
    script(versioned(2))  # which needs nothing of it
    await watched.next()
    script(f"{holds}# again")
    await until(lambda: watched.broken)
    assert any("tried again when that has left" in note for note in watched.notes)
    go_on.touch()
    assert (await answer).body == b'"old"'
    third, _ = await watched.next()
    assert await ask(third) == b'"old"'


async def test_a_worker_of_its_own_has_what_is_served_and_leaves(
    watch: Any, script: Script
) -> None:
    watched = watch(script(HANDLER))
    worker, _ = await watched.start()
    async with watched.supervisor.isolated() as isolated:
        assert isolated is not worker
        assert await ask(isolated) == b'"a"'
    await until(lambda: isolated.is_gone)
    assert not worker.is_gone and watched.notes == []


async def test_a_worker_of_its_own_that_cannot_load_is_none(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    worker, _ = await watched.start()
    script("1 / 0")
    with pytest.raises(HfhooksError, match="ZeroDivisionError"):
        async with watched.supervisor.isolated():
            raise AssertionError
    assert await ask(worker) == b'"a"'


async def test_a_worker_with_a_handler_that_was_given_up_is_replaced(
    watch: Any, script: Script
) -> None:
    """It ends what it has begun, and then with the thread that nobody can take from it."""
    text = f"import time\n{HANDLER.replace('return', 'time.sleep(2); return')}"
    watched = watch(script(f"{text}@webhook_endpoint\ndef hangs(): time.sleep(60)"))
    worker, _ = await watched.start()
    hangs, beside = asked(worker, endpoint="hangs", id=1), asked(worker, id=2)
    worker.give_up(1)
    another, _ = await watched.next()
    assert not worker.takes_more and not worker.is_gone
    assert (await beside).body == b'"a"'
    assert (await hangs).kind in ("crashed", "interrupted")
    await until(lambda: worker.is_gone)
    assert another.takes_more


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_thing", "no module named"),
        ("import sys; sys.exit()", "sys.exit()"),
        ("import os; os._exit(3)", "exited with code 3"),
        ("", "no endpoint found"),
    ],
)
async def test_broken_code_is_said_once_and_never_runs(
    reloading: Watched, script: Script, text: str, words: str
) -> None:
    worker = reloading.worker
    script(text)
    await until(lambda: reloading.broken)
    assert words in str(reloading.broken[0])
    assert await ask(worker) == b'"1"'
    loop, seen = asyncio.get_running_loop(), asyncio.Event()
    loop.call_later(1.5 * CHECK_AFTER, seen.set)  # the files are looked at again before that
    await seen.wait()
    assert len(reloading.broken) == 1 and reloading.ready.empty()
    script(versioned(2))
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"2"'


async def test_a_script_that_never_ends_loading_is_given_up(watch: Any, script: Script) -> None:
    options = {"reload": True, "longest_load": 0.5, "long_load": 0.2}
    watched = watch(script(versioned(1)), **options)
    await watched.start()
    script("while True: pass")
    await until(lambda: watched.broken)
    assert "given up" in str(watched.broken[0])
    assert any("still loading" in note for note in watched.notes)
    script(versioned(2))
    worker, _ = await watched.next()
    assert await ask(worker) == b'"2"'


async def test_a_newer_save_does_not_wait_for_an_older_one(
    reloading: Watched, script: Script
) -> None:
    script("import time; time.sleep(60)")
    await until(lambda: reloading.supervisor.loading)
    script(versioned(3))
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"3"'
    assert reloading.broken == []


async def test_a_file_that_is_saved_in_two_parts_is_not_broken(
    reloading: Watched, script: Script
) -> None:
    whole = versioned(2, "\n@webhook_endpoint\ndef b(): return 'b'\n")
    written = asyncio.Event()

    def write(length: int) -> None:
        script(whole[:length])
        if length == len(whole):
            written.set()

    for number, length in enumerate((len(whole) // 3, len(whole) // 2, len(whole))):
        asyncio.get_running_loop().call_later(number * HALF_SAVED / 4, write, length)
    await written.wait()
    worker, endpoints = await reloading.next()
    assert await ask(worker) == b'"2"'
    assert [endpoint.name for endpoint in endpoints] == ["a", "b"]
    assert reloading.broken == []


async def test_an_endpoint_that_is_gone_is_gone(reloading: Watched, script: Script) -> None:
    script(versioned(2).replace("def a()", "def b()"))
    _, endpoints = await reloading.next()
    assert [endpoint.name for endpoint in endpoints] == ["b"]


async def test_the_first_version_may_be_a_broken_one(watch: Any, script: Script) -> None:
    watched = watch(script("1 / 0"), reload=True)
    starting = asyncio.create_task(watched.start())
    await until(lambda: watched.broken)
    script(versioned(1))
    worker, _ = await starting
    assert await ask(worker) == b'"1"'
    assert watched.reloads == []


async def test_a_script_that_is_deleted_may_come_back(reloading: Watched, script: Script) -> None:
    path = script(versioned(1))
    path.unlink()
    await until(lambda: reloading.broken)
    assert "no such file" in str(reloading.broken[0])
    script(versioned(2))
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"2"'


async def test_spares_that_are_killed_are_replaced(reloading: Watched, script: Script) -> None:
    killed = {spare.pid for spare in reloading.spares}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not killed & {spare.pid for spare in reloading.spares})
    await spares_are_warm(reloading)
    script(versioned(2))
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"2"'


async def test_worker_and_spares_may_be_killed_together(reloading: Watched) -> None:
    for each in (reloading.worker, *reloading.spares):
        os.kill(each.pid, signal.SIGKILL)
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"1"'
    await spares_are_warm(reloading)


async def test_a_worker_that_dies_while_a_new_version_loads_is_replaced_by_it(
    reloading: Watched, script: Script
) -> None:
    script("import time; time.sleep(0.5)\n" + versioned(2))
    await until(lambda: reloading.supervisor.loading)
    os.kill(reloading.worker.pid, signal.SIGKILL)
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"2"'
    assert reloading.losses == 1


async def test_stopping_ends_the_spares_too(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER), reload=True)
    await watched.start()
    await until(lambda: watched.spares)
    pids = [spare.pid for spare in watched.spares]
    await watched.supervisor.stop(1)
    await until(lambda: not any(map(psutil.pid_exists, pids)))


async def test_a_spare_that_is_killed_as_it_is_needed_does_not_matter(
    reloading: Watched, script: Script
) -> None:
    for spare in reloading.spares:
        os.kill(spare.pid, signal.SIGSTOP)
    script(versioned(2))
    await until(lambda: reloading.supervisor.loading)
    chosen = reloading.supervisor.loading
    assert chosen
    os.kill(chosen.pid, signal.SIGKILL)
    for other in reloading.spares:
        os.kill(other.pid, signal.SIGCONT)
    worker, _ = await reloading.next()
    assert await ask(worker) == b'"2"'
    assert reloading.broken == []


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux alone has it")
async def test_spares_leave_the_processor_to_others_until_they_are_needed(
    reloading: Watched, script: Script
) -> None:
    for spare in reloading.spares:
        assert os.sched_getscheduler(spare.pid) == os.SCHED_BATCH
    script(versioned(2))
    worker, _ = await reloading.next()
    assert os.sched_getscheduler(worker.pid) == os.SCHED_OTHER
