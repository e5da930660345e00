import stat
from dataclasses import replace
from pathlib import Path

from hfhooks.journal.sqlite.memory import FILE, known, recall, remember
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.events import Filter

OPEN = Endpoint("open", Filter(on=("repo.content",), ref=("refs/heads/*",)), retries=7)
SHARED, OWN = Endpoint("shared", secrets=("of-all",)), Endpoint("own", secrets=("of-one",))


def test_endpoints_are_recalled_as_they_were(tmp_path: Path) -> None:
    remember(tmp_path, [OPEN, SHARED], ("of-all",))
    protected = replace(OPEN, secrets=("of-all",))
    assert recall(tmp_path, ("of-all",)) == [protected, SHARED]
    assert recall(tmp_path, ()) == [OPEN]


def test_senders_may_have_either_secret_of_a_rotation(tmp_path: Path) -> None:
    remember(tmp_path, [Endpoint("shared", secrets=("new", "old"))], ("new", "old"))
    for secrets in (("new",), ("newer", "new")):
        assert recall(tmp_path, secrets) == [Endpoint("shared", secrets=secrets)]


def test_a_secret_of_its_own_is_not_known_next_time(tmp_path: Path) -> None:
    remember(tmp_path, [OWN, SHARED], ("of-all",))
    assert recall(tmp_path, ("new",)) == [Endpoint("shared", secrets=("new",))]


def test_all_are_known_without_their_secrets(tmp_path: Path) -> None:
    remember(tmp_path, [OWN, SHARED], ("of-all",))
    assert [(each.name, each.secrets) for each in known(tmp_path)] == [("own", ()), ("shared", ())]
    assert known(tmp_path / "nowhere") == []


def test_no_secret_is_written(tmp_path: Path) -> None:
    remember(tmp_path, [OWN, SHARED], ("of-all",))
    text = (tmp_path / FILE).read_text()
    assert "of-all" not in text and "of-one" not in text
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_what_cannot_be_read_is_not_recalled(tmp_path: Path) -> None:
    assert recall(tmp_path, ()) == []
    for text in ("", "{}", '[{"secrets": ""}]', '[{"secret": null}]', "[1]"):
        (tmp_path / FILE).write_text(text)
        assert recall(tmp_path, ()) == []
