import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from hfhooks.errors import StartError
from hfhooks.private import check_private, state_folder


def test_without_a_home_the_state_folder_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pathlib.Path.home", _no_home)
    monkeypatch.setattr("os.path.expanduser", lambda path: _no_home())
    with pytest.raises(StartError, match="no folder for state"):
        state_folder()


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir(mode=0o700)
    return folder


def test_a_folder_of_ones_own_is_private(folder: Path) -> None:
    check_private(folder)
    check_private(folder / "not there yet")


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_not(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(StartError, match="others may write to ") as caught:
        check_private(folder)
    assert caught.value.help == f"Forbid it: chmod go-w '{folder}'"


def test_a_link_is_not(folder: Path) -> None:
    link = folder / "link"
    link.symlink_to(folder)
    with pytest.raises(StartError, match="is a link to somewhere else"):
        check_private(link)
    check_private(link, is_ours=False)


def test_a_folder_of_somebody_else_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(StartError, match="belongs to another user"):
        check_private(folder)
    check_private(folder, is_ours=False)


@pytest.mark.parametrize(("mode", "is_fine"), [(0o770, True), (0o1777, True), (0o777, False)])
def test_a_folder_that_was_given_may_be_a_groups(folder: Path, mode: int, is_fine: bool) -> None:
    folder.chmod(mode)
    with nullcontext() if is_fine else pytest.raises(StartError, match="everybody may write"):
        check_private(folder, is_ours=False)
