"""Which pyproject.toml counts, among files of real users."""

import os
from pathlib import Path

import pytest

from hfhooks.errors import UsageError
from hfhooks.settings.pyproject import MOST_PARSED, nearest_pyproject

OURS = '[tool.hfhooks]\nhost = "0.0.0.0"\n'
STRANGER = 65534
OTHER = 64999
"""The number of a user who has no name."""
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, for files of other users"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder two below one that has a pyproject.toml."""
    below = tmp_path / "src" / "bots"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(OURS)
    return below


@pytest.fixture
def file(folder: Path) -> Path:
    """That pyproject.toml."""
    return folder.parents[1] / "pyproject.toml"


@pytest.fixture
def code(folder: Path) -> Path:
    """A script in that folder."""
    path = folder / "app.py"
    path.write_text("")
    return path


def ignored(folder: Path, code: Path | None = None) -> str | None:
    """Return why the one that is there is ignored."""
    found = nearest_pyproject(folder, code)
    assert found
    return found.ignored


def test_the_nearest_one_above_counts(folder: Path, file: Path) -> None:
    found = nearest_pyproject(folder, None)
    assert found and (found.path, found.table, found.ignored) == (file, {"host": "0.0.0.0"}, None)
    (folder / "pyproject.toml").write_text("")
    found = nearest_pyproject(folder, None)
    assert found and (found.path, found.table) == (folder / "pyproject.toml", {})


@pytest.mark.parametrize("kind", ["folder", "file of a worktree", "link to nowhere"])
def test_the_search_ends_where_a_repository_begins(folder: Path, kind: str) -> None:
    git = folder.parent / ".git"
    if kind == "folder":
        git.mkdir()
    elif kind == "file of a worktree":
        git.write_text("gitdir: elsewhere")
    else:
        git.symlink_to("nowhere")
    assert nearest_pyproject(folder, None) is None


def test_one_beside_a_repository_counts(folder: Path, file: Path) -> None:
    (file.parent / ".git").mkdir()
    assert nearest_pyproject(folder, None)


@pytest.mark.parametrize("is_linked", [False, True])
def test_the_search_ends_at_the_home_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_linked: bool
) -> None:
    home = folder.parent
    if is_linked:
        home = tmp_path / "home"
        home.symlink_to(folder.parent)
    monkeypatch.setenv("HOME", str(home))
    assert nearest_pyproject(folder, None) is None
    (home / "pyproject.toml").write_text(OURS)
    assert nearest_pyproject(folder, None)


def test_what_is_no_file_is_none(folder: Path, file: Path) -> None:
    (folder / "pyproject.toml").mkdir()
    os.mkfifo(folder.parent / "pyproject.toml")
    found = nearest_pyproject(folder, None)
    assert found and found.path == file


@pytest.mark.parametrize(
    "text", ["[tool.hfhooks", "tool = 3", "a = " + "[" * 100_000, "a = 'ü'"], ids=range(4)
)
def test_one_that_counts_and_is_none_is_wrong_usage(folder: Path, file: Path, text: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"/pyproject.toml: "):
        nearest_pyproject(folder, None)


def test_one_that_everybody_may_write_to_is_ignored(folder: Path, file: Path, code: Path) -> None:
    file.chmod(0o664)
    assert ignored(folder, code) is None
    file.chmod(0o666)
    why = ignored(folder, code)
    assert why and why.startswith("everybody may write to it, not only its owner ")
    assert f"uid {os.geteuid()}" in why
    assert ignored(folder)


def test_where_everybody_may_write_to_the_script_modes_say_nothing(
    folder: Path, file: Path, code: Path
) -> None:
    file.chmod(0o777)
    code.chmod(0o777)
    assert ignored(folder, code) is None


@root
def test_one_of_a_stranger_is_ignored(folder: Path, file: Path, code: Path) -> None:
    os.chown(file, OTHER, OTHER)
    assert ignored(folder) == f"it belongs to uid {OTHER}, not to you or root"
    who = "you, root or the owner of the script"
    assert ignored(folder, code) == f"it belongs to uid {OTHER}, not to {who}"
    code.chmod(0o777)
    assert ignored(folder, code)


@root
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_one_of_the_owner_of_the_script_counts(
    folder: Path, file: Path, code: Path, mode: int
) -> None:
    """As with a folder of somebody else's that is mounted into a container, which is root's."""
    for path in (file, code):
        os.chown(path, STRANGER, STRANGER)
        path.chmod(mode)
    assert ignored(folder, code) is None
    assert ignored(folder)
    os.chown(file, OTHER, OTHER)
    assert ignored(folder, code)


@root
def test_one_of_root_counts_for_everybody(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert ignored(folder) is None


@root
@pytest.mark.parametrize("whose", ["link", "target"])
def test_both_a_link_and_its_target_are_to_be_trusted(
    folder: Path, file: Path, tmp_path: Path, whose: str
) -> None:
    target = file.rename(tmp_path / "target.toml")
    file.symlink_to(target)
    assert ignored(folder) is None
    os.chown(file if whose == "link" else target, OTHER, OTHER, follow_symlinks=False)
    assert ignored(folder)


@root
@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("[project]\nname = 'x'\n[tool.hfhooks]\nport = 1\n[tool.ruff]\nx = 2\n", {"port": 1}),
        ("[project]\r\n[tool.hfhooks]\r\nport = 1\r\n", {"port": 1}),
        ("[tool.hfhooks]\nport = \n", {}),
        ("[tool.hfhooks]\nport = " + "[" * 1500, {}),
        ("[tool.hfhooks]\n" + "a." * MOST_PARSED + "a = 1", {}),
        ("[tool]\nhfhooks = 3", {}),
        ("[tool.hfhooks]\nport = 1 # \xff", {"port": 1}),
    ],
    ids=range(7),
)
def test_whatever_a_stranger_has_written_is_no_error(
    folder: Path, file: Path, text: str, table: dict[str, int]
) -> None:
    file.write_bytes(text.encode("latin-1"))
    os.chown(file, OTHER, OTHER)
    found = nearest_pyproject(folder, None)
    assert found and found.ignored
    assert found.table == table


@root
def test_one_of_a_stranger_that_does_not_concern_us_is_not_spoken_of(
    folder: Path, file: Path
) -> None:
    file.write_text("[project]\nname = 'x'\n")
    os.chown(file, OTHER, OTHER)
    assert nearest_pyproject(folder, None) is None
