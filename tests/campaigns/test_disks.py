"""Servers and journals on disks that are full or broken: a real tmpfs, real errors of writes."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hfhooks.errors import JournalFull
from hfhooks.gateway.journal import Retention, open_journal
from hfhooks.gateway.records import Attempt, Delivery
from tests.campaigns.disk import watching, why_not, workspace
from tests.harness import payload_bytes, wait_until

PULL = payload_bytes("pr_create_v3_docs")
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"
MIB = 1024 * 1024
ROUNDS = 50


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a disk of so many MiB."""
    if shutil.which("mount") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folders = []

    def mounted(mib: int) -> Path:
        folder = tmp_path / f"{mib}-mib"
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={mib}m", "tmpfs"]
        if subprocess.run(["mount", *options, folder], capture_output=True).returncode:
            pytest.skip("no small disk can be mounted here")
        folders.append(folder)
        return folder

    yield mounted
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_server_on_a_full_disk_refuses_until_there_is_room(
    tmpfs: Any, start: Any, script: Any
) -> None:
    disk = tmpfs(96)
    server = start(script(HANDLER), "--state-dir", disk / "state")
    assert server.post("a", PULL).status == 200
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(40 * MIB))
    refused = server.post("a", PULL)
    assert (refused.status, refused.headers["retry-after"]) == (503, "60")
    wait_until(lambda: "the disk is nearly full" in server.stderr)
    ballast.unlink()
    assert server.post("a", PULL).status == 200
    wait_until(lambda: "deliveries are accepted again" in server.stderr)
    assert server.stop() == 0
    assert [line["status"] for line in server.deliveries] == ["succeeded"] * 2


async def test_a_journal_that_fills_its_disk_again_and_again_loses_nothing(tmpfs: Any) -> None:
    """Filled to the last page; what was running then is kept once there is room."""
    folder = tmpfs(32)
    keep = Retention(deliveries=5)
    recorded: dict[int, bytes] = {}
    with closing(open_journal(folder / "journal", min_free=0, retention=keep)) as journal:
        for number in range(ROUNDS):
            ballast = folder / "ballast"
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - MIB // 2)
            running = []
            while True:
                body = os.urandom(200_000 + number)
                try:
                    delivery = await journal.record(Delivery("a", 1e12, "", (), body))
                except JournalFull:
                    break
                recorded[delivery.id] = body
                running.append(journal.claim(delivery, 0.0))
            assert running
            found = [journal.get(delivery.id) for delivery in running]
            assert all(d and d.body == recorded[d.id] for d in found)
            ballast.unlink()
            await asyncio.gather(*(kept(journal, delivery) for delivery in running))
            while await journal._database.commit(journal._database._chore):
                pass  # what need not be kept makes room
    with closing(open_journal(folder / "journal", min_free=0, retention=keep)) as journal:
        assert journal.unfinished() == []
        newest = journal.get(max(recorded))
        assert newest is not None and newest.body == recorded[newest.id]


async def kept(journal: Any, delivery: Delivery) -> None:
    """Record an outcome as the dispatcher does: again and again, until there is room."""
    attempt = Attempt(delivery.attempts, 0.0, 0.1, "succeeded", 200)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await journal.finish(delivery, attempt, "succeeded")
                return
            except JournalFull:
                await asyncio.sleep(0.01)


@pytest.mark.skipif(why_not() is not None, reason=f"no disk can fail: {why_not()}")
@pytest.mark.parametrize("fault", ["sync journal.db-wal 30", "write journal.db-wal 300"])
def test_a_server_whose_disk_fails_accepts_nothing_more_and_exits_with_5(
    start: Any, script: Any, fault: str
) -> None:
    with workspace() as (folder, library):
        root = folder / "disk"
        root.mkdir()
        broken = watching(library, root, folder / "log", f"{fault} {errno.EIO} once")
        server = start(script(HANDLER), "--state-dir", root / "state", env=broken)
        statuses: list[int] = []
        try:
            while len(statuses) < 200:
                statuses.append(server.post("a", PULL).status)
        except OSError:
            pass  # it is gone
        assert server.process.wait(timeout=30) == 5
        assert statuses[0] == 200 and len(statuses) < 200
        assert 200 not in statuses[statuses.index(503) :] if 503 in statuses else True
        [line] = [line for line in server.stderr.splitlines() if line.startswith("error: ")]
        assert "disk I/O error. Nothing more is accepted." in line
        assert "Traceback" not in server.stderr
        again = start(script(HANDLER), "--state-dir", root / "state")
        assert again.post("a", PULL).status == 200
        again.stop()
