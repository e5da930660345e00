import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hfhooks.endpoints import Endpoint
from hfhooks.errors import HfhooksError, LoadError
from hfhooks.gateway.client import WorkerClient
from hfhooks.supervisor import Supervisor
from hfhooks.worker.loading import find_targets
from hfhooks.worker.spawn import WorkerProcess
from tests.harness import JSON

Script = Callable[..., Path]
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"


class Watched:
    """A supervisor and what it told."""

    def __init__(self, path: Path, ping_every: float = 5.0) -> None:
        self.ready: asyncio.Queue[tuple[WorkerClient, list[Endpoint]]] = asyncio.Queue()
        self.lost: list[str] = []
        self.troubles: list[str] = []
        self.process = WorkerProcess()
        self.supervisor = Supervisor(
            find_targets([str(path)]),
            lambda client, endpoints: self.ready.put_nowait((client, endpoints)),
            self.lost.append,
            self.troubles.append,
            ping_every,
        )

    async def start(self) -> tuple[WorkerClient, list[Endpoint]]:
        await self.supervisor.start(self.process)
        return await self.ready.get()


@pytest.fixture
async def watch() -> AsyncIterator[Callable[[Path], Watched]]:
    watched: list[Watched] = []

    def watch(path: Path, **options: float) -> Watched:
        watched.append(Watched(path, **options))
        return watched[-1]

    yield watch
    for each in watched:
        await each.supervisor.stop(5)
        each.process.close()


async def ask(client: WorkerClient) -> bytes:
    connection = await client.connect()
    response = await connection.post("/webhooks/a", list(JSON.items()), b"{}")
    client.close()
    return response.body


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
    client, _ = await asyncio.wait_for(watched.ready.get(), 30)
    assert watched.lost == ["the worker was ended by signal 9; starting another."]
    assert await ask(client) == b'"a"'


async def test_a_worker_that_hangs_is_replaced(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER), ping_every=0.05)
    await watched.start()
    os.kill(watched.process.pid, signal.SIGSTOP)
    client, _ = await asyncio.wait_for(watched.ready.get(), 30)
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
    [trouble] = watched.troubles
    assert "should be `def`" in trouble


async def test_a_worker_that_cannot_be_replaced_is_tried_again(watch: Any, script: Script) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    script("1 / 0")
    os.kill(watched.process.pid, signal.SIGKILL)
    while len(watched.lost) < 2:
        await asyncio.sleep(0.01)
    assert "ZeroDivisionError" in watched.lost[1]
    script(HANDLER)
    client, _ = await asyncio.wait_for(watched.ready.get(), 30)
    assert await ask(client) == b'"a"'


async def test_a_worker_that_fails_to_load_and_lives_on_is_ended(
    watch: Any, script: Script
) -> None:
    """A thread of the script would keep Python, and the worker would still answer."""
    watched = watch(script(HANDLER))
    await watched.start()
    script("import threading\nthreading.Thread(target=threading.Event().wait).start()\n1 / 0")
    os.kill(watched.process.pid, signal.SIGKILL)
    while len(watched.lost) < 2:
        await asyncio.sleep(0.01)
    script(HANDLER)
    client, _ = await asyncio.wait_for(watched.ready.get(), 30)
    assert await ask(client) == b'"a"'


async def test_a_worker_that_cannot_even_be_started_is_tried_again(
    watch: Any, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watched = watch(script(HANDLER))
    await watched.start()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    os.kill(watched.process.pid, signal.SIGKILL)
    while len(watched.lost) < 2:
        await asyncio.sleep(0.01)
    assert "No such file or directory" in watched.lost[1]
    monkeypatch.setattr(tempfile, "tempdir", None)
    client, _ = await asyncio.wait_for(watched.ready.get(), 30)
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
