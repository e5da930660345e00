"""Lose power between any two writes of a journal, and look for deliveries that were acknowledged.

    python -m tests.campaigns.powerloss [STATES] [--control nosync|early|late] [--seed N]

A process records deliveries while every write, sync and directory entry is noted. Then the disk is
built as a power loss could have left it: what was synced is there; each write since may be there,
gone or torn, and so may each entry of a folder. A sync takes a while, and covers what was written
before it began. Some of these disks are used again, and lose their power again.

The controls acknowledge too early, each in its way (`controls`). Deliveries must get lost then, or
the campaign would see nothing. Without arguments all of this is done.
"""

import argparse
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, randrange

from hfhooks.errors import JournalError
from tests.campaigns.controls import CONTROLS
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
AGAIN = 40
"""Deliveries that are recorded on a disk that has lost its power."""
SLOW = 0.006
"""Seconds that a sync takes at most; acknowledging too much loses nothing where it takes none."""
STATES, STATES_AGAIN, STATES_OF_A_CONTROL = 1000, 800, 500
LOSSES_A_DISK = 20
"""How often the power is lost again on a disk that has lost it once."""


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


def campaign(states: int, seed: int, control: str = "") -> Report:
    """Record once, then lose the power so many times."""
    with workspace() as (folder, library):
        root, log = folder / "disk", folder / "log"
        root.mkdir()
        history = recorded(library, root, log, DELIVERIES, control)
        check(history, root, folder / "copy")
        report = Report(Counter(operation.name for operation in history))
        losses = power_losses(history, Disk(root), folder / "state", states, Random(seed))
        for moment, acked in losses:
            look(folder / "state", moment, acked, report)
        return report


def campaign_again(states: int, seed: int, control: str = "") -> Report:
    """Record on a disk that has lost its power, and lose it again, so many times."""
    with workspace() as (folder, library):
        root, log, again = folder / "disk", folder / "log", folder / "again"
        root.mkdir()
        history, random = recorded(library, root, log, DELIVERIES[:1], control), Random(seed)
        report, disk = Report(Counter()), Disk(root)
        for first, acked in power_losses(history, disk, again, states // LOSSES_A_DISK, random):
            second, start = Disk.found(again), DELIVERIES[0]
            later = recorded(library, again, folder / "log again", [AGAIN], control, start)
            report.seen.update(operation.name for operation in later)
            given = {operation.inode for operation in acked}
            twice = [o for o in later if o.name == "acked" and o.inode in given]
            report.lost.extend(f"{first}: {each.inode} was given again" for each in twice)
            losses = power_losses(later, second, folder / "state", LOSSES_A_DISK, random)
            for moment, acked_later in losses:
                look(folder / "state", f"{first}, {moment}", [*acked, *acked_later], report)
            shutil.rmtree(again)
            (folder / "log again").unlink()
        return report


def recorded(
    library: Path,
    root: Path,
    log: Path,
    deliveries: Sequence[int],
    control: str = "",
    start: int = 0,
) -> list[Operation]:
    """Return what is done to a disk while deliveries are recorded."""
    watched = watching(library, root, log, slow=SLOW)
    complaints = drive(root, watched, deliveries, control, start)
    assert not complaints, complaints
    return list(operations(log))


def look(state: Path, moment: str, acked: list[Operation], report: Report) -> None:
    """Look for what was acknowledged on what a power loss has left, and remove that."""
    report.states += 1
    try:
        if lost := missing(state, acked):
            report.lost.append(f"{moment}: {lost} of {len(acked)} acknowledged are lost")
    except (JournalError, sqlite3.Error) as error:
        report.unreadable.append(f"{moment}: {error}")
    shutil.rmtree(state)


def check(history: list[Operation], root: Path, copy: Path) -> None:
    """Fail unless the log leads to the very files: a write that is not in it cannot get lost."""
    Disk(root, history).write_to(copy, everything)
    for file in root.rglob("*"):
        same = copy / file.relative_to(root)
        assert file.is_dir() or file.read_bytes() == same.read_bytes(), f"not all seen: {file}"


def power_losses(
    history: list[Operation], disk: Disk, state: Path, count: int, random: Random
) -> Iterator[tuple[str, list[Operation]]]:
    """Make so many states; yield each and what was acknowledged by it.

    Half of them are spread over all moments, the others come right after an acknowledgement.
    """
    acked = list[Operation]()
    moments = range(len(history))
    words = [number for number in moments if history[number].name == "acked"]
    losses = Counter(random.choices(words, k=count // 2) if words else ())
    losses.update(random.choices(moments, k=count - losses.total()))
    for number, operation in enumerate(history):
        disk.apply(operation)
        if operation.name == "acked":
            acked.append(operation)
        for _ in range(losses[number]):
            disk.write_to(state, chance(random))
            yield f"after operation {number} ({operation.name})", acked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("states", nargs="?", type=int)
    parser.add_argument("--control", choices=CONTROLS)
    parser.add_argument("--seed", type=int, default=randrange(1_000_000))
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(f"The power cannot be lost here: {reason}.")
    print(f"seed {options.seed}")
    states, seed = options.states, options.seed
    if options.control:
        return not is_fine(options.control, campaign(states or STATES, seed, options.control))
    fine = [
        is_fine("once", campaign(states or STATES, seed)),
        is_fine("again", campaign_again(states or STATES_AGAIN, seed)),
    ]
    for control in () if states else CONTROLS:
        report = campaign(STATES_OF_A_CONTROL, seed, control)
        fine.append(not is_fine(f"control {control}, which must lose", report))
    return 0 if all(fine) else 1


def is_fine(title: str, report: Report) -> bool:
    print(f"\n{title}", report, sep="\n", flush=True)
    return not (report.lost or report.unreadable)


if __name__ == "__main__":
    sys.exit(main())
