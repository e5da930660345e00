"""How workers are kept running."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hfhooks.supervisor.heartbeat import PING_EVERY

__all__ = ["USUAL", "Options"]

LONG_LOAD = 5.0
"""Seconds after which a person wonders what a script is doing."""
LONGEST_LOAD = 30.0
"""Seconds after which a new version is given up, unless the last good one took a third of that."""


@dataclass(frozen=True)
class Options:
    """How a worker is kept running."""

    reload: bool = False
    """Put the newest version of the scripts in service."""
    folders: Sequence[Path] = ()
    """Folders in which scripts may appear."""
    watched: Sequence[Path] = ()
    """Files and folders that matter beside the scripts."""
    ping_every: float = PING_EVERY
    """Seconds between two questions whether the worker is alive."""
    longest_load: float = LONGEST_LOAD
    """Seconds after which a new version is given up."""
    long_load: float = LONG_LOAD
    """Seconds after which is said that one takes long."""
    verbose: bool = False
    """What is wrong with a script is told with the frames of libraries."""


USUAL = Options()
