import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading changes the interpreter: all comes back, and the working folder is the script's."""
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    for name in ("path", "meta_path", "argv"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


@pytest.fixture
def library(
    tmp_path: Path, script: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Path]:
    """Return a function that installs a module, here and for the processes that are started."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    monkeypatch.syspath_prepend(folder)
    return lambda text, name: script(text, f"site-packages/{name}")
