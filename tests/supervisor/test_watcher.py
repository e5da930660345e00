import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest

from hfhooks.errors import UsageError
from hfhooks.supervisor import watcher as module
from hfhooks.supervisor.watcher import Watcher, check_watchable
from hfhooks.tasks import Tasks
from tests.harness import until


class Changes:
    """A watcher and what it told."""

    def __init__(self, tasks: Tasks) -> None:
        self.told: list[Path] = []
        self.watcher = Watcher(self.told.extend, tasks)

    async def begin(self, folder: Path) -> None:
        """Wait until changes in this folder are seen at all."""
        first, last = folder / "first probe", folder / "last probe"
        self.watcher.watch([first, last])
        await self.again(first)
        last.write_text("")
        await until(lambda: last in self.told)  # and so all that was written to the first one
        self.told.clear()

    async def again(self, file: Path) -> None:
        """Write to a file again and again until that is told."""
        numbers = count()

        def is_told() -> bool:
            file.write_text(str(next(numbers)))
            return file in self.told

        await until(is_told)

    async def after(self, act: Callable[[], object]) -> list[Path]:
        """Return what is told after something was done."""
        act()
        await until(lambda: self.told)
        return self.told


@pytest.fixture
async def changes(tasks: Tasks) -> AsyncIterator[Changes]:
    changes = Changes(tasks)
    yield changes
    changes.watcher.close()


@pytest.fixture
async def script(changes: Changes, tmp_path: Path) -> Path:
    """A script that is being watched."""
    script = tmp_path / "app.py"
    script.write_text("old")
    changes.watcher.watch([script])
    await changes.begin(tmp_path)
    return script


def in_place(script: Path) -> None:
    script.write_text("new")


def by_rename(script: Path) -> None:
    draft = script.with_suffix(".swp")
    draft.write_text("new")
    draft.replace(script)


def by_another_file(script: Path) -> None:
    script.rename(script.with_suffix(".bak"))
    script.write_text("new")


def in_two_parts(script: Path) -> None:
    with script.open("w") as file:
        file.write("n")
        file.flush()
        file.write("ew")


def of_the_same_size_and_time(script: Path) -> None:
    before = script.stat()
    script.write_text("new")
    os.utime(script, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "save",
    [in_place, by_rename, by_another_file, in_two_parts, of_the_same_size_and_time, Path.unlink],
)
async def test_a_save_is_told(changes: Changes, script: Path, save: Callable[[Path], None]) -> None:
    assert set(await changes.after(lambda: save(script))) == {script}


async def test_what_is_deleted_and_comes_back_is_told(changes: Changes, script: Path) -> None:
    await changes.after(script.unlink)
    changes.told.clear()
    assert await changes.after(lambda: script.write_text("old")) == [script]


async def test_what_stays_as_it_is_is_not_told(changes: Changes, script: Path) -> None:
    script.touch()
    script.chmod(0o600)
    script.write_text("old")
    by_rename(script.with_name("other.py"))
    (script.parent / "__pycache__").mkdir()
    assert await changes.after(lambda: in_place(script)) == [script]


async def test_new_scripts_are_told_when_they_matter(changes: Changes, script: Path) -> None:
    script.with_name("first.py").touch()
    assert await changes.after(lambda: in_place(script)) == [script]
    changes.told.clear()
    changes.watcher.takes_new_scripts = True
    script.with_name("data.txt").touch()
    second = script.with_name("second.py")
    assert await changes.after(second.touch) == [second]


async def test_scripts_that_come_into_a_folder_that_is_served_are_told(
    changes: Changes, tmp_path: Path
) -> None:
    (bots := tmp_path / "bots").mkdir()
    changes.watcher.watch_folder(bots)
    await changes.begin(bots)
    assert await changes.after((bots / "new.py").touch) == [bots / "new.py"]


async def test_all_that_changes_in_a_tree_is_told(changes: Changes, tmp_path: Path) -> None:
    (deep := tmp_path / "data" / "deep").mkdir(parents=True)
    (deep / "labels.json").write_text("old")
    changes.watcher.watch_tree(tmp_path / "data")
    await changes.begin(tmp_path / "data")
    (deep / "labels.json").touch()
    assert await changes.after(lambda: in_place(deep / "labels.json")) == [deep / "labels.json"]


async def test_a_tree_may_begin_where_a_script_is(
    changes: Changes, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    changes.watcher.watch_tree(tmp_path)
    await changes.again(tmp_path / "deep" / "labels.json")


async def test_what_changed_before_it_was_watched_is_told_at_once(
    changes: Changes, script: Path
) -> None:
    sibling = script.with_name("sibling.py")
    sibling.touch()
    changes.watcher.watch([sibling], read_at=time.time() + 60)
    assert changes.told == []
    later = script.with_name("later.py")
    later.touch()
    changes.watcher.watch([later], read_at=time.time() - 60)
    assert changes.told == [later]


async def test_a_look_at_all_files_finds_what_nobody_told(
    changes: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Watcher, "_follow", nothing)  # as where a folder cannot be watched
    script = tmp_path / "app.py"
    script.write_text("old")
    changes.watcher.watch([script])
    in_place(script)
    changes.watcher.check()
    assert changes.told == [script]


async def test_of_a_large_file_the_time_counts(
    changes: Changes, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 2)
    large = script.with_name("large")
    large.write_text("old")
    changes.watcher.watch([large])
    of_the_same_size_and_time(large)
    assert await changes.after(lambda: in_place(script)) == [script]
    changes.told.clear()
    assert await changes.after(lambda: os.utime(large, (0, 0))) == [large]


async def test_a_folder_may_go_away(changes: Changes, script: Path, tmp_path: Path) -> None:
    assert script in await changes.after(lambda: shutil.rmtree(tmp_path))
    changes.watcher.watch([tmp_path / "gone" / "x.py"])
    changes.watcher.check()


async def test_a_pipe_is_not_read(changes: Changes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a pipe")
    changes.watcher.watch([tmp_path / "a pipe"])
    changes.watcher.watch_tree(tmp_path)


def test_the_root_of_all_files_is_not_watched() -> None:
    with pytest.raises(
        UsageError, match=r"--watch /: below it are .* files .* MiB, and more, would"
    ):
        check_watchable(Path("/"))


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_READ"])
def test_a_folder_with_too_much_in_it_is_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "a file").write_text("four")
    check_watchable(tmp_path)
    monkeypatch.setattr(module, limit, 2)
    with pytest.raises(UsageError, match="files and folders"):
        check_watchable(tmp_path)


def test_what_is_in_large_files_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "a model").open("wb") as file:
        file.truncate(module.LARGE + 1)
    monkeypatch.setattr(module, "MOST_READ", 1)
    check_watchable(tmp_path)
