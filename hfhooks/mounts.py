"""What file systems folders are on, where Linux tells it."""

import os
import re
from pathlib import Path

__all__ = ["file_system", "is_elsewhere"]

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(r"afs|cifs|nfs.*|smb3|smbfs|fuse\.sshfs")
"""File systems of other machines."""
MOUNTED = re.compile(r"fuse(?!\.fuse-overlayfs).*")
"""File systems that programs make, as that of a bucket; but for one that containers begin with."""


def file_system(folder: Path) -> str | None:
    """Return the kind of file system that a folder, or what there is of it, is on."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    # https://www.kernel.org/doc/html/latest/filesystems/proc.html, 3.5; the last mount counts
    mounts = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in lines}
    folder = folder.resolve()
    homes = (mounts.get(str(home)) for home in (folder, *folder.parents))
    return next(filter(None, homes), None)


def is_elsewhere(kind: str | None) -> bool:
    """Tell whether locks and syncs of such a file system cannot be trusted.

    In a Space what a program has mounted is a bucket; elsewhere it may be a disk of this machine.
    """
    if not kind:
        return False
    is_bucket = "SPACE_ID" in os.environ and MOUNTED.fullmatch(kind)
    return bool(is_bucket or NETWORK.fullmatch(kind))
