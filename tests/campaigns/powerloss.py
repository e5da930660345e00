"""Lose power between any two writes of a journal, and look for deliveries that were acknowledged.

    python -m tests.campaigns.powerloss [STATES] [--synchronous NORMAL] [--seed N]

A process records deliveries while every write, sync and directory entry is noted. Then the disk is
built as a power loss could have left it: what was synced is there; each write since may be there,
gone or torn, and so may each entry of a folder. With NORMAL, which acknowledges before the disk
has it, deliveries must get lost, or the campaign would see nothing.
"""

import argparse
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, randrange

from hfhooks.errors import JournalError
from tests.campaigns.disk import (
    Disk,
    Operation,
    chance,
    everything,
    operations,
    watching,
    why_not,
    workspace,
)
from tests.campaigns.driver import drive, missing

DELIVERIES = (120, 120)
"""Twice, since a journal that is opened again starts from what closing it has left."""


@dataclass
class Report:
    seen: Counter[str]
    """How many operations of which name the log has."""
    states: int = 0
    lost: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {
            "operations": self.seen.total(),
            "… syncs": self.seen["sync"],
            "acknowledged": self.seen["acked"],
            "states after a power loss": self.states,
            "… with lost deliveries": len(self.lost),
            "… unreadable": len(self.unreadable),
        }
        examples = [f"  {line}" for line in (self.lost + self.unreadable)[:5]]
        return "\n".join([f"{name:<26} {count:>7,}" for name, count in counts.items()] + examples)


def campaign(states: int, synchronous: str, seed: int) -> Report:
    """Record once, then lose the power so many times."""
    with workspace() as (folder, library):
        root, log, state = folder / "disk", folder / "log", folder / "state"
        root.mkdir()
        complaints = drive(root, watching(library, root, log), DELIVERIES, synchronous)
        assert not complaints, complaints
        history = list(operations(log))
        check(history, root, folder / "copy")
        report = Report(Counter(operation.name for operation in history))
        for moment, acked in power_losses(history, root, state, states, Random(seed)):
            report.states += 1
            try:
                if lost := missing(state, acked):
                    report.lost.append(f"{moment}: {lost} of {len(acked)} acknowledged are lost")
            except (JournalError, sqlite3.Error) as error:
                report.unreadable.append(f"{moment}: {error}")
            shutil.rmtree(state)
        return report


def check(history: list[Operation], root: Path, copy: Path) -> None:
    """Fail unless the log leads to the very files: a write that is not in it cannot get lost."""
    Disk(root, history).write_to(copy, everything)
    for file in root.rglob("*"):
        same = copy / file.relative_to(root)
        assert file.is_dir() or file.read_bytes() == same.read_bytes(), f"not all seen: {file}"


def power_losses(
    history: list[Operation], root: Path, state: Path, count: int, random: Random
) -> Iterator[tuple[str, list[Operation]]]:
    """Make so many states, spread over all moments; yield each and what was acknowledged by it."""
    disk, acked = Disk(root), list[Operation]()
    rounds, rest = divmod(count, len(history))
    once_more = set(random.sample(range(len(history)), rest))
    for number, operation in enumerate(history):
        disk.apply(operation)
        if operation.name == "acked":
            acked.append(operation)
        for _ in range(rounds + (number in once_more)):
            disk.write_to(state, chance(random))
            yield f"after operation {number} ({operation.name})", acked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("states", nargs="?", type=int, default=1000)
    parser.add_argument("--synchronous", choices=["FULL", "NORMAL"], default="FULL")
    parser.add_argument("--seed", type=int, default=randrange(1_000_000))
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(f"The power cannot be lost here: {reason}.")
    started = time.perf_counter()
    report = campaign(options.states, options.synchronous, options.seed)
    print(f"synchronous {options.synchronous}, seed {options.seed}", report, sep="\n")
    print(f"{time.perf_counter() - started:.0f} s")
    return 1 if report.lost or report.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
