"""Make writes and syncs of a journal fail, and look for deliveries that were acknowledged.

    python -m tests.campaigns.faults [RUNS] [--seed N]

Each run is a process that records deliveries while the Nth write or sync of one of its files fails,
once or for ever. What it acknowledged must be there afterwards; it must also be there where the
power was lost after the last word, and with it all that waited for a sync that failed. What is sent
after a failed sync, of a commit or of a checkpoint, may not be acknowledged at all.
"""

import argparse
import errno
import shutil
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, product, takewhile, zip_longest
from pathlib import Path
from random import Random, randrange

from hfhooks.errors import JournalError
from tests.campaigns.disk import Disk, Operation, nothing, operations, watching, why_not, workspace
from tests.campaigns.driver import drive, missing

DELIVERIES = 150
"""Enough to go on after a checkpoint, which copies the write-ahead log into the database."""
LOG, DATABASE = "journal.db-wal", "journal.db"
KINDS = list(
    product(("write", "sync"), (LOG, DATABASE), (errno.ENOSPC, errno.EIO), ("once", "forever"))
)
LOST, LOST_WITH_THE_POWER = "lost", "lost if the power goes too"
WENT_ON = "acknowledged after a failed sync"
COLUMNS = ("runs", "failed", "acked", "refused", "later", "wrong")


@dataclass(frozen=True)
class Fault:
    operation: str
    file: str
    error: int
    times: str
    at: int

    def __str__(self) -> str:
        return f"{self.operation} {self.file} {self.at} {self.error} {self.times}"

    @property
    def kind(self) -> str:
        name = errno.errorcode[self.error]
        return f"{self.operation:<5} {self.file:<14} {name:<6} {self.times:<7}"


@dataclass(frozen=True)
class Run:
    """What a fault did to one process."""

    fault: Fault
    counts: Counter[str]
    """By column; `later` are those acknowledged of what was sent after the fault."""
    wrong: dict[str, str]


def campaign(runs: int, seed: int, control: str = "") -> list[Run]:
    """Return what came of so many faults, each kind as often as the others while there are any."""
    with workspace() as (folder, library), ThreadPoolExecutor(2) as pool:
        faults = islice(possible_faults(folder, library, Random(seed)), runs)
        return list(pool.map(partial(strike, folder, library, control), faults))


def possible_faults(folder: Path, library: Path, random: Random) -> Iterator[Fault]:
    """Yield a fault for each operation of a process that meets none, the kinds taking turns."""
    root, log = folder / "whole", folder / "whole.log"
    root.mkdir()
    complaints = drive(root, watching(library, root, log), [DELIVERIES])
    assert not complaints, complaints
    names, counts = dict[int, str](), Counter[tuple[str, str]]()
    for operation in operations(log):
        if operation.name == "create":
            names[operation.inode] = Path(operation.data.decode()).name
        counts[operation.name, names.get(operation.inode, "")] += 1
    turns = zip_longest(*(every_moment(kind, counts[kind[:2]], random) for kind in KINDS))
    return (fault for fault in chain.from_iterable(turns) if fault)


def every_moment(kind: tuple[str, str, int, str], count: int, random: Random) -> list[Fault]:
    assert count, f"no {kind[0]} of {kind[1]} was seen"
    return [Fault(*kind, at) for at in random.sample(range(1, count + 1), count)]


def strike(folder: Path, library: Path, control: str, fault: Fault) -> Run:
    """Record deliveries while this fails, and look for them on what is left of the disk."""
    here = folder / str(fault)
    root, log, dark = here / "disk", here / "log", here / "dark"
    root.mkdir(parents=True)
    complaints = drive(root, watching(library, root, log, str(fault)), [DELIVERIES], control)
    history = list(operations(log))
    Disk(root, until_the_last_acknowledged(history)).write_to(dark, nothing)
    later = acknowledged_later(history)
    wrong = {
        "the process complains": complaints,
        LOST: trouble(root, history),
        LOST_WITH_THE_POWER: trouble(dark, history),
        WENT_ON: f"{later} deliveries" if later and a_sync_failed(history) else "",
    }
    shutil.rmtree(here)
    counts = Counter(operation.name.partition("-")[0] for operation in history)
    counts["later"] = later
    return Run(fault, counts, {name: what for name, what in wrong.items() if what})


def until_the_last_acknowledged(history: list[Operation]) -> list[Operation]:
    """Leave out how the journal is closed, which writes everything once more."""
    later = takewhile(lambda operation: operation.name != "acked", reversed(history))
    return history[: len(history) - len(list(later))]


def parted(history: list[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Return what happened before the first failure, and the rest from it on."""
    failures = (n for n, operation in enumerate(history) if operation.name.startswith("failed"))
    first = next(failures, len(history))
    return history[:first], history[first:]


def acknowledged_later(history: list[Operation]) -> int:
    """Return how many deliveries were sent after the first failure and acknowledged."""
    _, after = parted(history)
    sent = {operation.number for operation in after if operation.name == "sent"}
    return sum(operation.name == "acked" and operation.number in sent for operation in after)


def a_sync_failed(history: list[Operation]) -> bool:
    """Whether the first failure is one of a sync."""
    _, failures = parted(history)
    return bool(failures) and failures[0].name == "failed-sync"


def trouble(root: Path, history: list[Operation]) -> str:
    """Return what is wrong with the journal below this folder."""
    acked = [operation for operation in history if operation.name == "acked"]
    try:
        lost = missing(root, acked)
    except (JournalError, sqlite3.Error) as error:
        return str(error)
    return f"{lost} of {len(acked)} acknowledged are lost" if lost else ""


def table(runs: list[Run]) -> Iterator[str]:
    """Yield a line for each kind of fault."""
    totals = defaultdict[str, Counter[str]](Counter)
    for run in runs:
        totals[run.fault.kind] += run.counts + Counter(runs=1, wrong=bool(run.wrong))
    yield " ".join([" " * len(runs[0].fault.kind), *(f"{name:>8}" for name in COLUMNS)])
    for kind, counts in totals.items():
        yield " ".join([kind, *(f"{counts[name]:>8,}" for name in COLUMNS)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="?", type=int, default=800)
    parser.add_argument("--seed", type=int, default=randrange(1_000_000))
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(f"The disk cannot fail here: {reason}.")
    started = time.perf_counter()
    print(f"seed {options.seed}; later = sent after the fault and acknowledged")
    runs = campaign(options.runs, options.seed)
    print(*table(runs), sep="\n")
    wrong = Counter(name for run in runs for name in run.wrong)
    for name, count in wrong.items():
        example = next(run for run in runs if name in run.wrong)
        print(f"{name}: {count} runs, such as '{example.fault}': {example.wrong[name]}")
    print(f"{len(runs)} runs, {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
