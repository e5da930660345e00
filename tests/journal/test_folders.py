import os
from pathlib import Path

from hfhooks.journal.folders import journal_folder, journals


def test_each_script_has_a_journal_of_its_own(tmp_path: Path) -> None:
    folders = {journal_folder(tmp_path, name) for name in ("/a/app.py", "/b/app.py", "my.bot")}
    assert len(folders) == 3
    assert {folder.name.rpartition("-")[0] for folder in folders} == {"app", "my"}


def test_the_one_that_was_used_last_comes_first(tmp_path: Path) -> None:
    used = {"/a/app.py": 3, "/b/app.py": 1, "/c/app.py": 2}
    for name, at in used.items():
        file = journal_folder(tmp_path, name) / "journal.db"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (at, at))
    log = journal_folder(tmp_path, "/b/app.py") / "journal.db-wal"
    log.touch()
    os.utime(log, (4, 4))
    expected = [journal_folder(tmp_path, name) for name in ("/b/app.py", "/a/app.py", "/c/app.py")]
    assert [file.parent for file in journals(tmp_path)] == expected


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert journals(tmp_path) == []
