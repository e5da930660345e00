import importlib.util
import os
import py_compile
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfhooks.errors import LoadError
from hfhooks.supervisor.targets import find_targets
from hfhooks.worker.loading import load
from hfhooks.worker.sources import fresh_finder, local_files

Script = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("own_interpreter")
ENDPOINT = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(payload): ...\n"


def names(folder: Path) -> list[str]:
    """Return the local files below a folder, without it."""
    files = [file for file in local_files() if file.startswith(f"{folder}{os.sep}")]
    assert files == sorted(files)
    return [file[len(str(folder)) + 1 :] for file in files]


def load_script(path: Path) -> None:
    load(find_targets([str(path)]))


def test_a_cached_module_that_looks_current_is_not_used(script: Script) -> None:
    path = script("WORD = 'old'", "words.py")
    py_compile.compile(str(path))
    before = path.stat()
    os.utime(script("WORD = 'new'", "words.py"), ns=(before.st_atime_ns, before.st_mtime_ns))
    load_script(script("import words\n" + ENDPOINT))
    assert sys.modules["words"].WORD == "new"


def test_no_cached_module_is_written(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    script("", "bots/__init__.py")
    script("", "bots/words.py")
    load_script(script("import bots.words\n" + ENDPOINT))
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_module_imported_after_the_load_is_fresh_too(script: Script) -> None:
    load_script(script(ENDPOINT))
    script("", "late_words.py")
    importlib.import_module("late_words")
    assert type(sys.modules["late_words"].__loader__).__name__ == "FreshLoader"


def test_an_installed_module_is_left_as_it_is(
    script: Script, library: Callable[[str, str], Path], tmp_path: Path
) -> None:
    library("", "installed_words.py")
    load_script(script("import installed_words\n" + ENDPOINT))
    assert type(sys.modules["installed_words"].__loader__).__name__ == "SourceFileLoader"
    assert names(tmp_path) == ["app.py"]


def test_an_editable_install_is_the_users_own(script: Script, tmp_path: Path) -> None:
    path = script("", "elsewhere/src/editable_words.py")

    class EditableFinder:
        @classmethod
        def find_spec(cls, name: str, path_: object, target: object = None) -> object:
            is_asked = name == "editable_words"
            return importlib.util.spec_from_file_location(name, path) if is_asked else None

    sys.meta_path.append(EditableFinder)  # type: ignore[arg-type] # as setuptools does
    load_script(script("import editable_words\n" + ENDPOINT))
    assert names(tmp_path) == ["app.py", "elsewhere/src/editable_words.py"]
    assert type(sys.modules["editable_words"].__loader__).__name__ == "FreshLoader"


def test_the_files_are_those_of_the_scripts_and_what_they_import(
    script: Script, tmp_path: Path
) -> None:
    script("from . import words", "bots/__init__.py")
    script("", "bots/words.py")
    script("", "bots/unused.py")
    load_script(script("import json, bots\n" + ENDPOINT))
    assert names(tmp_path) == ["app.py", "bots/__init__.py", "bots/words.py"]


def test_a_module_that_a_script_loads_from_its_file_counts(script: Script, tmp_path: Path) -> None:
    text = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("plugin", "plugins/one.py")
sys.modules["plugin"] = module = module_from_spec(spec)
spec.loader.exec_module(module)
"""
    script("", "plugins/one.py")
    load_script(script(text + ENDPOINT))
    assert names(tmp_path) == ["app.py", "plugins/one.py"]


def test_what_failed_to_import_counts(script: Script, tmp_path: Path) -> None:
    script("import worse_words", "bad_words.py")
    script("1 / 0", "worse_words.py")
    with pytest.raises(LoadError):
        load_script(script("import bad_words"))
    assert names(tmp_path) == ["app.py", "bad_words.py", "worse_words.py"]


def test_a_script_after_the_one_that_failed_counts(script: Script, tmp_path: Path) -> None:
    one, two = script("1 / 0", "one.py"), script("", "two.py")
    with pytest.raises(LoadError):
        load(find_targets([str(one), str(two)]))
    assert names(tmp_path) == ["one.py", "two.py"]


def test_listing_the_files_imports_no_lazy_module(script: Script) -> None:
    script("1 / 0", "lazy_words.py")
    load_script(script(ENDPOINT))
    spec = importlib.util.find_spec("lazy_words")
    assert spec and spec.loader
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules["lazy_words"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert local_files()


def test_odd_things_among_the_modules_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odd", object())  # as some libraries
    monkeypatch.setitem(sys.modules, "none", None)  # "not to be imported"
    assert all(Path(file).is_absolute() for file in local_files())


def test_there_is_one_finder() -> None:
    assert fresh_finder() is fresh_finder()
    assert sys.meta_path[0] is fresh_finder()


def test_a_finder_of_another_age_is_passed_over(script: Script) -> None:
    load_script(script(ENDPOINT))
    sys.meta_path.insert(1, object())  # type: ignore[arg-type] # Python passes over it as well
    script("", "more_words.py")
    assert importlib.import_module("more_words")
