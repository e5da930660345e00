"""What is under the servers: cores, disks, and what processes use of them."""

import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil

__all__ = [
    "ALL_CORES",
    "LOAD_CORE",
    "SERVER_CORE",
    "busy",
    "cpu",
    "describe",
    "family",
    "on_cores",
    "pin",
    "pss",
]

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
ALL_CORES = set(CORES)
SERVER_CORE, LOAD_CORE = set(CORES[:1]), set(CORES[1:2] or CORES)
"""Where the server is alone, and where all else is; empty where cores are not chosen."""


def pin(pid: int, cores: set[int]) -> None:
    """Keep a process, with the threads it has, on these cores, where one can."""
    if not cores:
        return
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        for thread in psutil.Process(pid).threads():
            os.sched_setaffinity(thread.id, cores)


def on_cores(cores: set[int]) -> Callable[[], None] | None:
    """Return what a process has to do first to keep to these cores, with all that it starts."""
    return (lambda: os.sched_setaffinity(0, cores)) if cores else None


def family(pid: int) -> list[psutil.Process]:
    """Return a process and what it has started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def cpu(process: psutil.Process) -> float:
    """Return the microseconds of CPU that a process has used, with its children that have ended."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        ended = (times.children_user + times.children_system) * 1e6
        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        exact = sum(_nanoseconds(thread) for thread in threads) / 1000
        return ended + (exact or (times.user + times.system) * 1e6)  # psutil's come in ticks
    return 0


def _nanoseconds(schedstat: Path) -> int:
    with suppress(OSError):  # the thread has ended
        return int(schedstat.read_text().split()[0])
    return 0


def busy() -> float:
    """Return the microseconds that all cores have worked, for whomever."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0)
    return float(sum(times[:8]) - idle) * 1e6  # behind these is what they hold already


def pss(pid: int) -> float:
    """Return the MiB that a process and its children take: a shared page counts in part for each.

    Linux only.
    """
    return float(sum(process.memory_full_info().pss for process in family(pid))) / 2**20


def describe(folder: Path) -> dict[str, str]:
    """Return what the numbers depend on, with the disk that a folder is on."""
    return {
        "when": datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": f"{platform.system()} {platform.release()}, {_processor()}",
        "cores": f"{os.cpu_count()}" + ("" if CORES else ", not chosen"),
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "disk": _disk(folder),
        "load before": " ".join(f"{each:.2f}" for each in os.getloadavg()),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


def _disk(folder: Path) -> str:
    holding = [
        part
        for part in psutil.disk_partitions(all=True)
        if folder.resolve().is_relative_to(part.mountpoint)
    ]
    part = max(holding, key=lambda part: len(part.mountpoint))
    return f"{part.fstype} on {part.device}"
