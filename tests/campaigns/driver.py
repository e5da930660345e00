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
from pathlib import Path
from random import Random

from hfhooks.errors import JournalError
from hfhooks.journal.sqlite.journal import Journal, open_journal
from hfhooks.journal.sqlite.records import Attempt, Delivery
from tests.campaigns.disk import Operation
from tests.harness import wait_until

JOURNAL = Path("state", "handlers")
"""Below the watched folder, so that making the journal's folders is watched too."""
AT_ONCE = (1, 1, 1, 4, 16)
SIZES = (200, 50_000)
TIMEOUT = 60


def drive(
    root: Path, env: Mapping[str, str], deliveries: Iterable[int], synchronous: str = "FULL"
) -> str:
    """Record so many deliveries, opening the journal once for each number; return complaints."""
    numbers = [str(number) for number in deliveries]
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, root / JOURNAL, synchronous, *numbers],
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
    with (
        closing(open_journal(root / JOURNAL)) as journal,
        closing(sqlite3.connect(journal.path)) as connection,
    ):
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise JournalError(verdict)
        bodies = dict(connection.execute("SELECT delivery_id, body FROM bodies"))
        return sum(bodies.get(delivery.inode) != delivery.data for delivery in acked)


async def record(journal: Journal, numbers: range, log: int) -> None:
    """Record one delivery after the other, and sometimes several at once."""
    random = Random(numbers.start)
    while numbers:
        count = random.choice(AT_ONCE)
        await asyncio.gather(*(deliver(journal, number, log) for number in numbers[:count]))
        numbers = numbers[count:]


async def deliver(journal: Journal, number: int, log: int) -> None:
    random = Random(number)
    body = random.randbytes(random.randrange(*SIZES))
    note(log, "sent", 0, number)
    try:
        delivery = await journal.record(Delivery("train", time.time(), "", (), body))
    except JournalError:
        note(log, "refused", 0, number)
        return
    note(log, "acked", delivery.id, number, body)
    with suppress(JournalError):
        running = journal.claim(delivery, 0.0)
        attempt = Attempt(running.attempts, 0.0, 0.1, "succeeded", 200, body)
        await journal.finish(running, attempt, "succeeded")


def note(log: int, name: str, id: int, number: int, data: bytes = b"") -> None:
    os.write(log, f"{name} {id} {number} {len(data)}\n".encode() + data)


def main(folder: Path, synchronous: str, deliveries: Iterable[int]) -> None:
    log = os.open(os.environ["DISK_LOG"], os.O_WRONLY | os.O_APPEND)
    start = 0
    for count in deliveries:
        with suppress(JournalError), closing(open_journal(folder)) as journal:
            if synchronous != "FULL":  # the mutant
                wait_until(lambda: journal._database._until_chore > 0)  # and no transaction is open
                journal._database._writer.execute(f"PRAGMA synchronous = {synchronous}")
            asyncio.run(record(journal, range(start, start + count), log))
        start += count


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], map(int, sys.argv[3:]))
