"""Deliveries recorded by a process of their own, on a disk that is watched; and looked for later.

The process is this module, below `disk.c`. It adds to the log `sent 0 N` before it records the Nth
delivery, then `acked ID N` with the body, or `refused 0 N`.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from random import Random

from hfhooks.errors import JournalError
from hfhooks.journal import Journal, open_journal, url_of
from hfhooks.model.delivery import Attempt, Claim, Stored, Verdict
from tests.campaigns.controls import CONTROLS
from tests.campaigns.disk import Operation
from tests.journal.engines import NEW, finished

JOURNAL = Path("state", "handlers", "journal.db")
"""Below the watched folder, so that making the journal's folders is watched too."""
AT_ONCE = (1, 1, 1, 4, 16)
STILL_RUNNING = (0, 4, 12, 12)
"""How many may not be finished when the next ones come."""
SIZES = (200, 50_000)
TURNS = (0, 5, 20, 50)
"""Of the loop, until the next ones come: while others are written or synced, too."""
TIMEOUT = 60


def drive(
    root: Path,
    env: Mapping[str, str],
    deliveries: Iterable[int],
    control: str = "",
    start: int = 0,
) -> str:
    """Record so many deliveries, opening the journal once for each number; return complaints.

    With a control (`controls`) it acknowledges too early. They are numbered from `start`.
    """
    numbers = [str(number) for number in deliveries]
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, root / JOURNAL, control, str(start), *numbers],
            env=os.environ | env,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return f"hangs: not finished after {TIMEOUT} s"
    return process.stderr or (f"exit code {process.returncode}" if process.returncode else "")


def missing(root: Path, acked: Iterable[Operation]) -> int:
    """Return how many deliveries are not in the journal as they were acknowledged.

    Raises `JournalError` or `sqlite3.Error` when it cannot be read.
    """
    return asyncio.run(not_found(root / JOURNAL, acked))


async def not_found(path: Path, acked: Iterable[Operation]) -> int:
    journal = open_journal(url_of(path))
    try:
        with closing(sqlite3.connect(path)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise JournalError(verdict)
        found = [(await journal.get(operation.inode), operation.data) for operation in acked]
        return sum(delivery is None or delivery.body != body for delivery, body in found)
    finally:
        await journal.close()


async def record(journal: Journal, numbers: range, log: int) -> None:
    """Record several deliveries at once, and others before all of these are finished."""
    random = Random(numbers.start)
    running = set[asyncio.Task[None]]()
    while numbers:
        count, most = random.choice(AT_ONCE), random.choice(STILL_RUNNING)
        some = [asyncio.ensure_future(deliver(journal, each, log)) for each in numbers[:count]]
        numbers, running = numbers[count:], running.union(some)
        while len(running) > most:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*done)
        for _ in range(random.choice(TURNS)):
            await asyncio.sleep(0)
    await asyncio.gather(*running)


async def deliver(journal: Journal, number: int, log: int) -> None:
    """Record a delivery and finish it, or whichever was due first."""
    random = Random(number)
    body = random.randbytes(random.randrange(*SIZES))
    recorded: asyncio.Future[Stored | JournalError] = asyncio.Future()

    def answered(result: Stored | JournalError) -> None:
        if isinstance(result, Stored):
            note(log, "acked", result.id, number, body)
        else:
            note(log, "refused", 0, number)
        recorded.set_result(result)

    note(log, "sent", 0, number)
    delivery = replace(NEW, received_at=time.time(), body=body)
    journal.record(delivery, answered, take=random.random() < 0.5)
    stored = await recorded
    if isinstance(stored, Stored):
        with suppress(JournalError):
            claims = [stored.claim] if stored.claim else await journal.claim({NEW.endpoint: 1})
            await asyncio.gather(*(succeed(journal, claim) for claim in claims))


async def succeed(journal: Journal, claim: Claim) -> None:
    attempt = Attempt(claim.number, 0.0, 0.1, "succeeded", 200, claim.delivery.body)
    await finished(journal, claim, attempt, Verdict("succeeded", "succeeded"))


def note(log: int, name: str, id: int, number: int, data: bytes = b"") -> None:
    os.write(log, f"{name} {id} {number} {len(data)}\n".encode() + data)


async def main(path: Path, control: str, start: int, deliveries: Iterable[int]) -> None:
    if control:
        CONTROLS[control]()
    log = os.open(os.environ["DISK_LOG"], os.O_WRONLY | os.O_APPEND)
    for count in deliveries:
        with suppress(JournalError):
            journal = open_journal(url_of(path))
            try:
                await record(journal, range(start, start + count), log)
            finally:
                await journal.close()
        start += count


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), map(int, sys.argv[4:])))
