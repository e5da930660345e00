"""What a server was sent in a soak, what became of it, and what its processes used."""

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import psutil

from tests.campaigns.crash import Victim


class Ending(NamedTuple):
    status: str
    reason: str

    @property
    def is_explained(self) -> bool:
        """The reason for ignoring is in the delivery itself, its event."""
        return self.status == "ignored" or bool(self.reason)


class Sample(NamedTuple):
    """What all processes of a server use at a moment."""

    gateway_mib: float
    all_mib: float
    """PSS: what several share is counted once."""
    descriptors: int
    threads: int
    processes: int

    @classmethod
    def of(cls, server: Victim) -> "Sample":
        """Raises `psutil.Error` when one of them ends meanwhile."""
        gateway = psutil.Process(server.process.pid)
        both = [gateway, *gateway.children(recursive=True)]
        sizes = [process.memory_full_info().pss / 2**20 for process in both]
        return cls(
            sizes[0],
            sum(sizes),
            sum(process.num_fds() for process in both),
            sum(process.num_threads() for process in both),
            len(both),
        )


@dataclass
class Books:
    """What the servers were sent, and what became of it. Every delivery has a key."""

    events: Counter[str] = field(default_factory=Counter)
    """What is only counted."""
    acknowledged: set[str] = field(default_factory=set)
    handled: Counter[str] = field(default_factory=Counter)
    endings: dict[str, Ending] = field(default_factory=dict)
    """Of those that failed or were ignored."""
    stuck: set[str] = field(default_factory=set)
    """Unfinished at the end."""
    wrong: list[str] = field(default_factory=list)
    """What servers did that they must not."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def lost(self) -> set[str]:
        explained = {key for key, ending in self.endings.items() if ending.is_explained}
        return self.acknowledged - self.handled.keys() - explained

    @property
    def is_fine(self) -> bool:
        return not (self.lost or self.stuck or self.wrong)

    @property
    def usage(self) -> str:
        """Quarter by quarter, the median of each."""
        quarter = max(1, len(self.samples) // 4)
        rows = {
            "first quarter": self.samples[:quarter],
            "median": self.samples,
            "last quarter": self.samples[-quarter:],
        }
        head = "".join(f"{name:>13}" for name in Sample._fields)
        lines = [
            f"{name:<14}" + "".join(f"{median(column):>13.0f}" for column in zip(*row, strict=True))
            for name, row in rows.items()
        ]
        return "\n".join([" " * 14 + head, *lines])

    @property
    def reasons(self) -> str:
        """Return how often each endpoint's deliveries ended so."""
        kinds = Counter(
            (key.partition("-")[0], status, reason.strip().rpartition("\n")[2][:80])
            for key, (status, reason) in self.endings.items()
        )
        return "\n".join(f"{number:>6,}  {'  '.join(kind)}" for kind, number in kinds.most_common())

    def __str__(self) -> str:
        statuses = Counter(ending.status for ending in self.endings.values())
        figures = {
            **dict(sorted(self.events.items())),
            "acknowledged": len(self.acknowledged),
            "handled": len(self.handled),
            "handled more than once": sum(times > 1 for times in self.handled.values()),
            "failed": statuses["failed"],
            "ignored": statuses["ignored"],
            "LOST": len(self.lost),
            "STUCK": len(self.stuck),
            "WRONG": len(self.wrong),
        }
        return ", ".join(f"{name} {number:,}" for name, number in figures.items())
