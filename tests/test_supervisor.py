import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hfhooks import supervisor
from hfhooks.endpoints import Endpoint
from hfhooks.errors import HfhooksError, LoadError
from hfhooks.gateway.client import Interrupted, WorkerClient
from hfhooks.gateway.passage import Site
from hfhooks.supervisor import SPARES, Supervisor
from hfhooks.wire import ATTEMPT_HEADER
from hfhooks.worker.loading import find_targets
from hfhooks.worker.spawn import WorkerProcess
from tests.gateway.conftest import until
from tests.harness import JSON
from tests.zygote import Forked

Script = Callable[..., Path]
ATTEMPT = '{"id": 1}'
"""As the gateway describes one."""
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"


class Watched:
    """A supervisor and what it told; the observer of it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.ready: asyncio.Queue[tuple[WorkerClient, list[Endpoint]]] = asyncio.Queue()
        self.reloads: list[float] = []
        self.broken: list[HfhooksError] = []
        self.lost: list[str] = []
        self.troubles: list[str] = []
        self.blocked: list[tuple[str | None, list[str]]] = []
        self.process = WorkerProcess()
        self.supervisor = Supervisor(
            lambda: find_targets([str(path)]), self, self.process, **options
        )

    async def start(self) -> tuple[WorkerClient, list[Endpoint]]:
        await self.supervisor.start()
        return await self.ready.get()

    async def next(self) -> tuple[WorkerClient, list[Endpoint]]:
        return await asyncio.wait_for(self.ready.get(), 30)

    def on_ready(
        self,
        client: WorkerClient,
        endpoints: list[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        self.ready.put_nowait((client, endpoints))
        if reloaded_in is not None:
            self.reloads.append(reloaded_in)

    def on_broken(self, error: HfhooksError) -> None:
        self.broken.append(error)

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)

    def on_late_failure(self, id: int, number: int, error: str) -> None: ...

    def on_blocked(
        self, client: WorkerClient, endpoint: str | None, why: str | None, begun: list[str]
    ) -> None:
        self.blocked.append((why, begun))

    def on_trouble(self, text: str) -> None:
        self.troubles.append(text)


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Path], Watched]]:
    monkeypatch.setattr(subprocess, "Popen", Forked)  # tests/worker starts real ones
    watched: list[Watched] = []

    def watch(path: Path, **options: Any) -> Watched:
        watched.append(Watched(path, **options))
        return watched[-1]

    yield watch
    for each in watched:
        await each.supervisor.stop(5)
        each.process.close()


async def posted(client: WorkerClient) -> bytes:
    connection = await client.connect()
    headers = [*JSON.items(), (ATTEMPT_HEADER, ATTEMPT)]
    return (await connection.post("/webhooks/a", headers, b"{}")).body


async def ask(client: WorkerClient) -> bytes:
    body = await posted(client)
    client.close()
    return body


async def begun(client: WorkerClient) -> asyncio.Task[bytes]:
    """Let a handler run that takes its time."""
    answer = asyncio.create_task(posted(client))
    await asyncio.sleep(0.05)
    return answer


async def test_a_worker_is_ready_with_its_endpoints(watch: Any, script: Script) -> None:
    client, endpoints = await watch(script(HANDLER)).start()
    assert [endpoint.name for endpoint in endpoints] == ["a"]
    assert await ask(client) == b'"a"'


async def test_where_a_unix_socket_will_not_do_a_port_is_used(
    watch: Any, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    client, _ = await watch(script(HANDLER)).start()
    assert await ask(client) == b'"a"'
    assert list(deep.iterdir()) == []


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
    with pytest.raises(LoadError, match="a fault in hfhooks: TypeError: no such field"):
        await watch(script(HANDLER)).start()


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("import os\nos._exit(7)", "exited with code 7"),
        ("import os\nos.kill(os.getpid(), 9)", "was ended by signal 9"),
        # A program that it started has its pipes, and lives on.
        ("import os, time\nif os.fork() == 0: time.sleep(2)\nos._exit(7)", "code 7"),
    ],
)
async def test_a_script_that_ends_its_process_while_loading(
    watch: Any, script: Script, text: str, ending: str
) -> None:
    with pytest.raises(LoadError, match=f"{ending} while the script was loading"):
        await watch(script(text)).start()


async def test_a_worker_that_dies_is_replaced(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    os.kill(watched.process.pid, signal.SIGKILL)
    client, _ = await watched.next()
    assert watched.lost == ["the worker was ended by signal 9; starting another."]
    assert await ask(client) == b'"a"'


async def test_a_worker_that_hangs_is_replaced(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER), ping_every=0.05)
    await watched.start()
    os.kill(watched.process.pid, signal.SIGSTOP)
    client, _ = await watched.next()
    assert watched.lost == ["the worker did not answer for 0.3 s; starting another."]
    assert await ask(client) == b'"a"'


async def test_a_worker_that_stands_still_for_a_moment_is_left_alone(
    watch: Any, script: Script
) -> None:
    watched = watch(script(HANDLER), ping_every=0.2)
    client, _ = await watched.start()
    os.kill(watched.process.pid, signal.SIGSTOP)
    await asyncio.sleep(0.5)  # two or three questions
    os.kill(watched.process.pid, signal.SIGCONT)
    assert await ask(client) == b'"a"'
    await asyncio.sleep(1)
    assert (watched.lost, watched.troubles) == ([], [])


async def test_a_handler_that_blocks_the_others_is_said_and_not_killed(
    watch: Any, script: Script
) -> None:
    text = "import time\n" + HANDLER.replace("def a(): ", "async def a(): time.sleep(1); ")
    watched = watch(script(text), ping_every=0.05)
    client, _ = await watched.start()
    assert await ask(client) == b'"a"'
    assert watched.lost == []
    [(why, begun)] = watched.blocked
    assert why and why.startswith("a (") and "should be `def`" in why
    assert begun == [ATTEMPT]


async def test_a_worker_that_cannot_be_replaced_is_tried_again(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    script("1 / 0")
    os.kill(watched.process.pid, signal.SIGKILL)
    await until(lambda: watched.broken)
    assert "ZeroDivisionError" in str(watched.broken[0])
    script(HANDLER)
    client, _ = await watched.next()
    assert await ask(client) == b'"a"'


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
    client, _ = await watched.next()
    assert await ask(client) == b'"a"'


async def test_a_worker_that_cannot_even_be_started_is_tried_again(
    watch: Any, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    os.kill(watched.process.pid, signal.SIGKILL)
    await until(lambda: watched.broken)
    assert "No such file or directory" in str(watched.broken[0])
    monkeypatch.setattr(tempfile, "tempdir", None)
    client, _ = await watched.next()
    assert await ask(client) == b'"a"'


async def test_stopping_ends_the_worker_and_removes_its_socket(
    watch: Any, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # short enough for a socket
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    watched = watch(script(HANDLER))
    await watched.start()
    assert [path.name for path in folder.glob("*/*")] == ["worker.sock"]
    await watched.supervisor.stop(5)
    assert watched.process.wait(0) == 0
    assert list(folder.iterdir()) == []
    folder.rmdir()


async def test_sockets_that_killed_servers_left_are_swept_away(
    watch: Any, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # short enough for a socket
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    dead, alive = (folder / f"hfhooks-{pid}-x" for pid in (process.pid, os.getpid()))
    for left in (dead, alive):
        left.mkdir()
        (left / "worker.sock").touch()
    watched = watch(script(HANDLER))
    await watched.start()
    assert not dead.exists() and alive.exists()
    await watched.supervisor.stop(5)
    shutil.rmtree(folder)


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
    watched: Watched = watch(script(versioned(1)), reload=True, grace=5)
    await watched.start()
    await spares_are_warm(watched)
    return watched


async def spares_are_warm(watched: Watched) -> None:
    def are_warm() -> bool:
        spares = watched.supervisor._spares
        return len(spares) == SPARES and all(spare.is_warm.is_set() for spare in spares)

    await until(are_warm)


async def test_a_save_puts_the_new_code_in_service(reloading: Watched, script: Script) -> None:
    script(versioned(2))
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'
    assert len(reloading.reloads) == 1 and 0 < reloading.reloads[0] < 30
    assert (reloading.lost, reloading.broken) == ([], [])


async def test_after_a_save_spares_stand_by_again(reloading: Watched, script: Script) -> None:
    for number in (2, 3, 4):
        script(versioned(number))
        client, _ = await reloading.next()
        assert await ask(client) == f'"{number}"'.encode()
    await spares_are_warm(reloading)


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
    watched = watch(script(slow), reload=True, grace=30)
    client, _ = await watched.start()
    answer = await begun(client)
    script(versioned(2))
    new, _ = await watched.next()
    assert await ask(new) == b'"2"'
    (tmp_path / "go-on").touch()
    assert await answer == b'"old"'


async def test_an_old_worker_that_takes_too_long_is_ended(watch: Any, script: Script) -> None:
    slow = HANDLER.replace("return 'a'", "__import__('time').sleep(60)")
    watched = watch(script(slow), reload=True, grace=0.1)
    client, _ = await watched.start()
    answer = await begun(client)
    script(versioned(2))
    await watched.next()
    with pytest.raises(Interrupted):
        await answer
    await until(lambda: not watched.supervisor._leaving)


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
    client = reloading.supervisor._worker.client  # type: ignore[union-attr] # it has started
    script(text)
    await until(lambda: reloading.broken)
    assert words in str(reloading.broken[0])
    assert await ask(client) == b'"1"'
    await asyncio.sleep(1.5)  # until the files have been looked at again
    assert len(reloading.broken) == 1 and reloading.ready.empty()
    script(versioned(2))
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'


async def test_a_script_that_never_ends_loading_is_given_up(
    reloading: Watched, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONG_LOAD", 0.2)
    reloading.supervisor._longest_load = 0.5
    script("while True: pass")
    await until(lambda: reloading.broken)
    assert "given up" in str(reloading.broken[0])
    assert any("still loading" in trouble for trouble in reloading.troubles)
    script(versioned(2))
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'


async def test_a_newer_save_does_not_wait_for_an_older_one(
    reloading: Watched, script: Script
) -> None:
    script("import time; time.sleep(60)")
    await until(lambda: reloading.supervisor._loading)
    script(versioned(3))
    client, _ = await reloading.next()
    assert await ask(client) == b'"3"'
    assert reloading.broken == []


async def test_a_file_that_is_saved_in_two_parts_is_not_broken(
    reloading: Watched, script: Script
) -> None:
    whole = versioned(2, "\n@webhook_endpoint\ndef b(): return 'b'\n")
    for length in (len(whole) // 3, len(whole) // 2, len(whole)):
        script(whole[:length])
        await asyncio.sleep(0.03)
    client, endpoints = await reloading.next()
    assert await ask(client) == b'"2"'
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
    client, _ = await starting
    assert await ask(client) == b'"1"'
    assert watched.reloads == []


async def test_a_script_that_is_deleted_may_come_back(reloading: Watched, script: Script) -> None:
    path = script(versioned(1))
    path.unlink()
    await until(lambda: reloading.broken)
    assert "no such file" in str(reloading.broken[0])
    script(versioned(2))
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'


async def test_spares_that_are_killed_are_replaced(reloading: Watched, script: Script) -> None:
    killed = {spare.pid for spare in reloading.supervisor._spares}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not killed & {spare.pid for spare in reloading.supervisor._spares})
    await spares_are_warm(reloading)
    script(versioned(2))
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'


async def test_worker_and_spares_may_be_killed_together(reloading: Watched) -> None:
    worker = reloading.supervisor._worker
    assert worker
    for child in (worker, *reloading.supervisor._spares):
        os.kill(child.pid, signal.SIGKILL)
    client, _ = await reloading.next()
    assert await ask(client) == b'"1"'
    await spares_are_warm(reloading)


async def test_a_worker_that_dies_while_a_new_version_loads_is_replaced_by_it(
    reloading: Watched, script: Script
) -> None:
    worker = reloading.supervisor._worker
    assert worker
    script("import time; time.sleep(0.5)\n" + versioned(2))
    await until(lambda: reloading.supervisor._loading)
    os.kill(worker.pid, signal.SIGKILL)
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'
    assert len(reloading.lost) == 1


async def test_stopping_ends_the_spares_too(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER), reload=True)
    await watched.start()
    await until(lambda: watched.supervisor._spares)
    pids = [spare.pid for spare in watched.supervisor._spares]
    await watched.supervisor.stop(1)
    await until(lambda: not any(map(psutil.pid_exists, pids)))


async def test_a_spare_that_is_killed_as_it_is_needed_does_not_matter(
    reloading: Watched, script: Script
) -> None:
    for spare in reloading.supervisor._spares:
        os.kill(spare.pid, signal.SIGSTOP)
    script(versioned(2))
    await until(lambda: reloading.supervisor._loading)
    chosen = reloading.supervisor._loading
    assert chosen
    os.kill(chosen.pid, signal.SIGKILL)
    for other in reloading.supervisor._spares:
        os.kill(other.pid, signal.SIGCONT)
    client, _ = await reloading.next()
    assert await ask(client) == b'"2"'
    assert reloading.broken == []


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux alone has it")
async def test_spares_leave_the_processor_to_others_until_they_are_needed(
    reloading: Watched, script: Script
) -> None:
    for spare in reloading.supervisor._spares:
        assert os.sched_getscheduler(spare.pid) == os.SCHED_BATCH
    script(versioned(2))
    await reloading.next()
    worker = reloading.supervisor._worker
    assert worker and os.sched_getscheduler(worker.pid) == os.SCHED_OTHER
