import os
import sys
from pathlib import Path

import pytest

from hfhooks.journal.sqlite.lockers import lockers


@pytest.mark.parametrize(
    ("lock", "who"),
    [
        ("1: POSIX  ADVISORY  WRITE {other} 08:01:{inode} 120 120", "{name} (process {other})"),
        ("1: POSIX  ADVISORY  READ  {other} 08:01:{inode} 123 123", "another program"),
        ("1: POSIX  ADVISORY  WRITE {own} 08:01:{inode} 120 120", "another program"),
        ("1: POSIX  ADVISORY  WRITE 0 08:01:{inode} 120 120", "another program"),
        ("1: -> POSIX  ADVISORY  WRITE {other} 08:01:{inode} 120 120", "another program"),
        ("1: POSIX  ADVISORY  WRITE {other} 08:01:1{inode} 120 120", "another program"),
        ("1: OFDLCK ADVISORY  WRITE -1 08:01:{inode} 120 120", "another program"),
        ("no such line", "another program"),
    ],
)
def test_who_locks_a_file_is_named_where_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str, who: str
) -> None:
    locked, locks = tmp_path / "d.db-shm", tmp_path / "locks"
    locked.touch()
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "comm").write_text("sqlite3\n")
    values = {"other": 77, "own": os.getpid(), "inode": locked.stat().st_ino, "name": "sqlite3"}
    locks.write_text(lock.format(**values))
    monkeypatch.setattr("hfhooks.journal.sqlite.lockers.LOCKS", locks)
    monkeypatch.setattr("hfhooks.journal.sqlite.lockers.PROCESSES", tmp_path)
    assert lockers(locked) == who.format(**values)


@pytest.mark.skipif(sys.platform == "linux", reason="where Linux tells it")
def test_elsewhere_it_is_not_known(tmp_path: Path) -> None:
    assert lockers(tmp_path) == "another program"
