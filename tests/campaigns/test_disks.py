"""Servers and journals on disks that are full or broken: a real tmpfs, real errors of writes."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hfhooks.errors import JournalFull
from hfhooks.journal import Journal, open_journal, url_of
from hfhooks.journal.sqlite.commits import CHORE_EVERY
from hfhooks.model.delivery import Claim
from hfhooks.model.retention import Retention
from tests.campaigns.disk import watching, why_not, workspace
from tests.harness import payload_bytes, until, wait_until
from tests.journal.engines import NEW, finish, taken
from tests.wired import recorded, unfinished

PULL = payload_bytes("pr_create_v3_docs")
HANDLER = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(): return 'a'\n"
MIB = 1024 * 1024
ROUNDS = 50
JOURNAL = Path("journal", "journal.db")
SMALL = replace(NEW, received_at=1e12)
"""Never too old to be kept."""


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
    async with opened(folder) as journal:
        for _ in range(ROUNDS):
            ballast = folder / "ballast"
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - MIB // 2)
            running = await taken_until_it_is_full(journal)
            assert running
            for claim in running:
                assert (await recorded(journal, claim.id)).body == claim.delivery.body
            ballast.unlink()
            await asyncio.gather(*(kept(journal, claim) for claim in running))
            await forget(journal)
            await until(lambda: (folder / JOURNAL).stat().st_size < 4 * MIB)
        last = await taken(journal, replace(SMALL, body=os.urandom(200_000)))
        await finish(journal, last)
    async with opened(folder) as journal:
        assert await unfinished(journal) == []
        assert (await recorded(journal, last.id)).body == last.delivery.body


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Journal]:
    """Open a journal that uses all of the disk, and soon gives it back."""
    keep = Retention(deliveries=5)
    journal = open_journal(url_of(folder / JOURNAL), min_free=0, retention=keep)
    try:
        yield journal
    finally:
        await journal.close()


async def taken_until_it_is_full(journal: Journal) -> list[Claim]:
    claims: list[Claim] = []
    while True:
        body = os.urandom(200_000 + len(claims))
        try:
            claims.append(await taken(journal, replace(SMALL, body=body)))
        except JournalFull:
            return claims


async def kept(journal: Journal, claim: Claim) -> None:
    """Record an outcome as the dispatcher does: again and again, until there is room."""
    async with asyncio.timeout(10):
        while True:
            try:
                assert await finish(journal, claim)
                return
            except JournalFull:
                await journal.flush()


async def forget(journal: Journal) -> None:
    """Record and finish as many as have the journal look for what need not be kept."""
    claims = await asyncio.gather(*(taken(journal, SMALL) for _ in range(CHORE_EVERY)))
    await asyncio.gather(*(finish(journal, claim) for claim in claims))


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
