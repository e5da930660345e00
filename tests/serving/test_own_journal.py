import tempfile
from pathlib import Path

import pytest

from hfhooks.errors import JournalError
from hfhooks.journal import path_of
from hfhooks.private import state_folder
from hfhooks.serving.own_journal import journal_url, open_own_journal
from hfhooks.settings import Settings
from tests.harness import mounted


class Told(list[str]):
    """What was told."""

    def url(self, settings: Settings = Settings()) -> Path:  # noqa: B008 # it is frozen
        """Return the file of the journal."""
        return path_of(journal_url(settings, "/home/me/app.py", self.append))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The temporary folder of a Space."""
    monkeypatch.setenv("SPACE_ID", "me/hooks")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_in_the_state_folder(told: Told) -> None:
    assert told.url().is_relative_to(state_folder())
    assert told == []


def test_a_space_has_it_in_the_home_folder_and_says_what_that_means(
    told: Told, space: Path
) -> None:
    assert told.url().is_relative_to(state_folder())
    assert len(told) == 1 and "which a Space loses when it restarts" in told[0]


@pytest.mark.parametrize("kind", ["fuse.hf-mount", "nfs4"])
def test_a_space_whose_home_is_elsewhere_has_it_in_a_private_temporary_folder(
    told: Told, space: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("hfhooks.mounts.MOUNTS", mounted(Path.home(), kind))
    root = told.url().parents[2]
    assert root.parent == space and root.name.startswith("hfhooks-")
    assert root.stat().st_mode & 0o777 == 0o700
    assert len(told) == 1 and f"recorded in {root}, which a Space loses" in told[0]


def test_no_temporary_folder_is_used_twice(
    told: Told, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.mounts.MOUNTS", mounted(Path.home(), "fuse"))
    assert told.url() != told.url()


async def test_a_bucket_is_not_used_where_it_is_named(
    told: Told, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=space / "data")
    monkeypatch.setattr("hfhooks.mounts.MOUNTS", mounted(space, "fuse.hf-mount"))
    url = journal_url(settings, "/home/me/app.py", told.append)
    with pytest.raises(JournalError, match=r"on a network file system \(fuse.hf-mount\)"):
        open_own_journal(url, settings)
