from collections.abc import Callable
from pathlib import Path

import pytest

from hfhooks.errors import UsageError
from hfhooks.settings import Settings, load_settings


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
    assert (settings.tunnel, settings.state_dir) == ("none", None)


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
    values |= {"reload": True, "watch": [Path("/a"), Path("/b")]}
    assert values.keys() == Settings.model_fields.keys()
    for name, value in values.items():
        monkeypatch.setenv(f"HFHOOKS_{name.upper()}", str(value))
    monkeypatch.setenv("HFHOOKS_WATCH", '["/a", "/b"]')
    assert load_settings().model_dump() == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.hfhooks]\nprot = 1", "[tool.hfhooks] has no setting 'prot', did you mean 'port'?"),
        ("[tool.hfhooks]\nport = 'x'", "port: Input should be a valid integer"),
        ("[tool.hfhooks]\nport = 'x'", "(from [tool.hfhooks])"),
        ("[tool.hfhooks\n", "pyproject.toml: "),
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
    with pytest.raises(UsageError, match=r"port: .* \(from HFHOOKS_PORT\)"):
        load_settings()


def test_an_empty_variable_is_as_good_as_none(
    pyproject: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFHOOKS_PORT", "")
    assert load_settings().port == 7860


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_a_wrong_flag_is_named(pyproject: Callable[[str], None], value: float) -> None:
    with pytest.raises(UsageError, match=r"wait: .* \(from --wait\)"):
        load_settings(wait=value)
