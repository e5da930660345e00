from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hfhooks.errors import UsageError
from hfhooks.settings import FIELDS, load_settings, space_url
from tests.harness import mounted


@pytest.fixture
def pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that writes a pyproject.toml above the working folder."""
    below = tmp_path / "src" / "bots"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)

    def write(text: str) -> None:
        (tmp_path / "pyproject.toml").write_text(text)

    return write


def test_defaults(pyproject: Callable[[str], None]) -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.wait) == ("127.0.0.1", 7860, 5.0)
    assert (settings.tunnel, settings.state_dir) == ("auto", None)


def test_flags_beat_the_environment_beats_pyproject_beats_defaults(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pyproject('[tool.hfhooks]\nhost = "a"\nport = 1\nwait = 1.5\n')
    monkeypatch.setenv("HFHOOKS_HOST", "b")
    monkeypatch.setenv("HFHOOKS_PORT", "2")
    settings = load_settings(host="c", port=None)
    assert (settings.host, settings.port, settings.wait) == ("c", 2, 1.5)


def test_every_setting_can_come_from_the_environment(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"host": "::1", "port": 1, "wait": 2.5, "grace": 3.5, "tunnel": "none"}
    values |= {"state_dir": Path("/s"), "keep_days": 1.5, "keep_deliveries": 2, "keep_mib": 3.5}
    values |= {
        "inspector_port": 4,
        "max_body": 65536,
        "domain": "a.test",
        "ssh_host": "b",
        "public_url": "https://c.test",
    }
    values |= {"journal": "sqlite:////s/journal.db"}
    values |= {"verbose": True, "reload": True, "watch": [Path("/a"), Path("/b")]}
    assert values.keys() == FIELDS.keys()
    for name, value in values.items():
        monkeypatch.setenv(f"HFHOOKS_{name.upper()}", str(value))
    monkeypatch.setenv("HFHOOKS_WATCH", '["/a", "/b"]')
    assert asdict(load_settings()) == values | {
        "given": FIELDS.keys(),
        "ignored": None,
        "opened": None,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.hfhooks]\nprot = 1", "[tool.hfhooks] has no setting 'prot', did you mean 'port'?"),
        ("[tool.hfhooks]\nport = 'x'", "[tool.hfhooks] port = 'x': a port is a number."),
        ("[tool.hfhooks]\nwatch = [1]", "[tool.hfhooks] watch = [1]: a path is needed."),
        ("[tool.hfhooks\n", "pyproject.toml: "),
        ("[tool]\nhfhooks = 'x'", "[tool.hfhooks] is no table."),
        ("tool = 3", "[tool.hfhooks] is no table."),
    ],
)
def test_a_wrong_pyproject_is_wrong_usage(
    pyproject: Callable[[str], None], text: str, words: str
) -> None:
    pyproject(text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert words in str(caught.value)


@pytest.mark.parametrize("value", ["x", "-1", "65536", "1.5"])
def test_a_wrong_variable_is_named(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HFHOOKS_PORT", value)
    with pytest.raises(UsageError, match=rf"^HFHOOKS_PORT={value}: a port is "):
        load_settings()


def test_a_variable_of_no_setting_is_named_with_the_nearest(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFHOOKS_PROT", "1")
    with pytest.raises(UsageError, match="no setting HFHOOKS_PROT, did you mean 'HFHOOKS_PORT'"):
        load_settings()


def test_a_list_that_is_none_is_explained(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFHOOKS_WATCH", "labels.json")
    with pytest.raises(UsageError, match=r"^HFHOOKS_WATCH=labels.json: a JSON list is needed"):
        load_settings()


def test_an_empty_variable_is_as_good_as_none(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFHOOKS_PORT", "")
    assert load_settings().port == 7860


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_wrong_flag_is_named(pyproject: Callable[[str], None], value: float) -> None:
    with pytest.raises(UsageError, match=rf"^--wait {value}: a number of seconds is "):
        load_settings(wait=value)


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of a Space with persistent storage, which is returned."""
    monkeypatch.setenv("SPACE_ID", "me/hooks")
    monkeypatch.setenv("SPACE_HOST", "me-hooks.hf.space")
    monkeypatch.setattr("hfhooks.settings.SPACE_STORAGE", tmp_path)
    return tmp_path


def test_a_space_has_defaults_of_its_own(pyproject: Callable[[str], None], space: Path) -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.tunnel) == ("0.0.0.0", 7860, "none")
    assert (settings.reload, settings.state_dir) == (False, space / "hfhooks")
    assert space_url() == "https://me-hooks.hf.space"


def test_a_space_without_storage_keeps_what_it_can(
    pyproject: Callable[[str], None], space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.settings.SPACE_STORAGE", space / "missing")
    assert load_settings().state_dir is None


@pytest.mark.parametrize("kind", ["fuse", "fuse.hf-mount", "fuse.s3fs", "nfs", "nfs4"])
def test_a_space_whose_storage_is_a_bucket_or_elsewhere_has_none(
    pyproject: Callable[[str], None], space: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("hfhooks.mounts.MOUNTS", mounted(space, kind))
    assert load_settings().state_dir is None
    monkeypatch.setattr("hfhooks.mounts.MOUNTS", mounted(space, "ext4"))
    assert load_settings().state_dir == space / "hfhooks"


def test_a_space_may_name_a_port_and_people_all_else(
    pyproject: Callable[[str], None], space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "8080")
    assert load_settings().port == 8080
    assert asdict(load_settings(port=1, tunnel="auto", reload=True)).items() >= {
        ("port", 1),
        ("tunnel", "auto"),
        ("reload", True),
    }
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(UsageError, match=r"^PORT=http: a port is a number"):
        load_settings()


def test_elsewhere_there_is_no_space(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_HOST", "me-hooks.hf.space")
    monkeypatch.setenv("PORT", "8080")
    assert (space_url(), load_settings().port) == (None, 7860)


@pytest.mark.parametrize("domain", ["https://a.dev", "a", "a.dev/x", ""])
def test_a_domain_is_a_bare_name(pyproject: Callable[[str], None], domain: str) -> None:
    with pytest.raises(UsageError, match=rf"^--domain {domain}: a name such as "):
        load_settings(domain=domain)


def test_a_public_url_has_no_slash_at_its_end(pyproject: Callable[[str], None]) -> None:
    assert load_settings(public_url="https://a.test/b/").public_url == "https://a.test/b"


@pytest.mark.parametrize(
    ("flags", "is_named"),
    [
        ({}, False),
        ({"tunnel": "ngrok"}, True),
        ({"domain": "a.dev"}, True),
        ({"ssh_host": "b"}, True),
        ({"public_url": "https://c.test"}, True),
    ],
)
def test_a_tunnel_is_named_by_its_options_too(
    pyproject: Callable[[str], None], flags: dict[str, Any], is_named: bool
) -> None:
    assert load_settings(**flags).names_a_tunnel == is_named


def test_a_variable_may_have_any_case_and_is_named_as_it_is(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("hfhooks_port", "70000")
    with pytest.raises(UsageError, match=r"^hfhooks_port=70000: a port is at most 65535\.$"):
        load_settings()


def test_what_may_hold_a_password_is_not_repeated(pyproject: Callable[[str], None]) -> None:
    with pytest.raises(UsageError, match=r"^--public-url …: a URL such as"):
        load_settings(public_url="https://me:hunter2@a.test")


STRANGE = """[tool.hfhooks]
host = "0.0.0.0"
reload = false
ssh_host = "$(touch x)"
watch = ["a b", "c"]
port = "none"
public_url = "https://me:hunter2@a.test"
state_dir = "\\u001b[31m"
prot = 1
"""


@pytest.fixture
def open_to_all(pyproject: Callable[[str], None], tmp_path: Path) -> Path:
    """A pyproject.toml that everybody may write to."""
    pyproject(STRANGE)
    path = tmp_path / "pyproject.toml"
    path.chmod(0o666)
    return path


def test_what_is_ignored_is_said_with_the_flags_that_say_the_same(open_to_all: Path) -> None:
    settings = load_settings(port=None)
    assert (settings.host, settings.given, settings.opened) == ("127.0.0.1", frozenset(), None)
    assert settings.ignored and settings.ignored.startswith(f"{open_to_all} is ignored: everybody ")
    folder = open_to_all.parent
    same = f"--host 0.0.0.0 --no-reload --ssh-host '$(touch x)' --watch '{folder}/a b'"
    same += f" --watch {folder}/c"
    assert settings.ignored.endswith(f". To say the same: {same}")


def test_where_there_are_no_flags_the_variables_are_said(open_to_all: Path) -> None:
    same = "HFHOOKS_HOST=0.0.0.0 HFHOOKS_RELOAD=false HFHOOKS_SSH_HOST='$(touch x)' "
    folder = open_to_all.parent
    same += f"""HFHOOKS_WATCH='["{folder}/a b", "{folder}/c"]'"""
    assert load_settings().notes[0].endswith(f". To say the same: {same}")


@pytest.mark.parametrize(
    ("name", "value", "is_open"),
    [
        ("host", "0.0.0.0", True),
        ("host", "::", True),
        ("host", "127.evil.test", True),
        ("host", "127.0.0.2", False),
        ("host", "::1", False),
        ("host", "localhost", False),
        ("ssh_host", "me@evil.test", True),
        ("public_url", "https://a.test", True),
        ("state_dir", "/s", True),
        ("journal", "sqlite:////s/journal.db", True),
        ("tunnel", "cloudflared", True),
        ("tunnel", "none", False),
        ("domain", "a.test", False),
    ],
)
def test_what_opens_the_machine_is_said_with_the_file(
    pyproject: Callable[[str], None], tmp_path: Path, name: str, value: str, is_open: bool
) -> None:
    pyproject(f'[tool.hfhooks]\n{name} = "{value}"\n')
    said = [f"{tmp_path}/pyproject.toml says {name} = {value!r}."]
    assert load_settings().notes == (said if is_open else [])


def test_what_a_flag_has_said_is_not_said_of_the_file(pyproject: Callable[[str], None]) -> None:
    pyproject('[tool.hfhooks]\nhost = "0.0.0.0"\n')
    assert load_settings(host="127.0.0.1").notes == []


def test_a_path_may_begin_at_home(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert load_settings(state_dir="~/a").state_dir == Path("/home/ada/a")
    pyproject('[tool.hfhooks]\nstate_dir = "~/a"\n')
    assert load_settings().state_dir == Path("/home/ada/a")


def test_relative_paths_begin_at_the_file_that_says_them_or_else_here(
    pyproject: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyproject('[tool.hfhooks]\nstate_dir = "state"\nwatch = ["../labels.json", "/x"]\n')
    settings = load_settings()
    assert settings.state_dir == tmp_path / "state"
    assert list(settings.watch) == [tmp_path / "../labels.json", Path("/x")]
    monkeypatch.setenv("HFHOOKS_STATE_DIR", "state")
    assert load_settings().state_dir == Path.cwd() / "state"
    given = load_settings(state_dir="given", watch=["labels.json"])
    assert (given.state_dir, *given.watch) == (Path.cwd() / "given", Path.cwd() / "labels.json")


def test_a_pyproject_that_is_ignored_says_its_relative_paths_as_others_have_to(
    pyproject: Callable[[str], None], tmp_path: Path
) -> None:
    pyproject('[tool.hfhooks]\nstate_dir = "state"\nwatch = ["a"]\n')
    (tmp_path / "pyproject.toml").chmod(0o666)
    ignored = load_settings(port=1).ignored
    assert ignored and ignored.endswith(f": --state-dir {tmp_path}/state --watch {tmp_path}/a")


@pytest.mark.parametrize(("size", "is_said"), [("4MiB", False), ("4097KiB", True), ("64MiB", True)])
def test_that_a_large_body_keeps_others_waiting_is_said(
    pyproject: Callable[[str], None], size: str, is_said: bool
) -> None:
    pyproject("")
    notes = load_settings(max_body=size).notes
    assert [note for note in notes if "every other sender waits" in note] == notes
    assert bool(notes) is is_said
