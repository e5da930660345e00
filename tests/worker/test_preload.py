import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfhooks.supervisor.targets import find_targets
from hfhooks.worker.loading import load
from hfhooks.worker.preload import leading_imports, preload

Script = Callable[..., Path]
Library = Callable[[str, str], Path]
pytestmark = pytest.mark.usefixtures("own_interpreter")
ENDPOINT = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef a(payload): ...\n"
LOCAL = {"words", "bots"}


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("", []),
        ("import a", ["import a"]),
        ("import a, b.c as d", ["import a, b.c as d"]),
        (
            "from a.b import c as d, e\nfrom f import *",
            ["from a.b import c as d, e", "from f import *"],
        ),
        ('"""Text."""\nimport a', ["import a"]),
        ('"""Text."""\nfrom __future__ import annotations\nimport a', ["import a"]),
        ("import a; import b", ["import a", "import b"]),
        ("# -*- coding: utf-8 -*-\n\nimport a  # why", ["import a"]),
        ("import a\nx = 1\nimport b", ["import a"]),
        ("import a\nimport words\nimport b", ["import a"]),
        ("import a\nimport b, words.more\nimport c", ["import a"]),
        ("import a\nfrom bots.words import x\nimport c", ["import a"]),
        ("import a\nfrom . import b\nimport c", ["import a"]),
        ("import a\nfrom .b import c\nimport d", ["import a"]),
        ("from .__future__ import b\nimport c", []),
        ("import a\nif TYPE_CHECKING:\n    import b\nimport c", ["import a"]),
        ("import a\ntry:\n    import b\nexcept ImportError:\n    b = None\nimport c", ["import a"]),
        ("import os\nos.environ['HF_HOME'] = '/x'\nimport transformers", ["import os"]),
        ("import a\nprint('text')\nimport b", ["import a"]),
        ("import a\ndef f():\n    import b\nimport c", ["import a"]),
        ("import a\n'text of a second file'\npass\nimport b", ["import a", "import b"]),
    ],
)
def test_the_imports_before_all_else(source: str, imports: list[str]) -> None:
    found = leading_imports(source, LOCAL.__contains__)
    assert [ast.unparse(statement) for statement in found] == imports


def test_a_script_that_is_no_python_has_none() -> None:
    with pytest.raises(SyntaxError):
        leading_imports("import a\ndef", LOCAL.__contains__)


def preloaded(path: Path | str) -> set[str]:
    """Return the modules that preloading a target brings."""
    before = set(sys.modules)
    preload(find_targets([str(path)])[0])
    return set(sys.modules) - before


def test_a_library_is_imported_once_for_preload_and_load(
    script: Script, library: Library, tmp_path: Path
) -> None:
    library("with open('runs', 'a') as runs:\n    runs.write('x')", "slow_lib.py")
    path = script("import slow_lib\n" + ENDPOINT)
    assert "slow_lib" in preloaded(path)
    load(find_targets([str(path)]))
    assert (tmp_path / "runs").read_text() == "x"


def test_hfhooks_itself_is_a_library(script: Script, library: Library) -> None:
    library("", "lib_after.py")
    text = "from hfhooks import WebhookPayload, webhook_endpoint\nimport lib_after\n"
    assert "lib_after" in preloaded(script(text))


@pytest.mark.parametrize(
    "name", ["words.py", "words/__init__.py", "words/deep.py"], ids=["module", "package", "folder"]
)
def test_it_stops_at_what_is_the_users_own(script: Script, library: Library, name: str) -> None:
    library("", "lib_before.py")
    library("", "lib_after.py")
    script("", name)
    path = script("import lib_before\nimport words\nimport lib_after")
    assert preloaded(path) == {"lib_before"}


def test_it_stops_at_what_is_not_there(script: Script, library: Library) -> None:
    library("", "lib_after.py")
    assert preloaded(script("import nowhere_to_be_found\nimport lib_after")) == set()


def test_it_stops_where_a_library_imports_what_is_the_users_own(
    script: Script, library: Library
) -> None:
    library("try:\n    import words\nexcept Exception:\n    pass", "lib_asking.py")
    library("", "lib_after.py")
    script("", "words.py")
    assert preloaded(script("import lib_asking\nimport lib_after")) == set()


def test_it_stops_where_a_library_declares_an_endpoint(script: Script, library: Library) -> None:
    library(ENDPOINT, "lib_of_handlers.py")
    path = script("import lib_of_handlers")
    assert "lib_of_handlers" not in preloaded(path)
    assert list(load(find_targets([str(path)])).registrations) == ["a"]


def test_a_library_may_run_a_server_as_it_may_in_the_load(script: Script, library: Library) -> None:
    text = "from hfhooks import WebhooksServer\nWebhooksServer().run()"
    library(text, "lib_running.py")
    assert "lib_running" in preloaded(script("import lib_running"))


@pytest.mark.parametrize(
    "raised", ["1 / 0", "raise SystemExit(7)", "raise KeyboardInterrupt", "def"]
)
def test_what_a_library_raises_is_left_to_the_load(
    script: Script, library: Library, raised: str
) -> None:
    library(raised, "lib_failing.py")
    library("", "lib_before.py")
    library("", "lib_after.py")
    path = script("import lib_before, lib_failing\nimport lib_after")
    assert preloaded(path) == {"lib_before"}


@pytest.mark.parametrize("text", [b"import lib_before\ndef", b"\xff\xfe", b"import lib_before\0"])
def test_a_script_that_cannot_be_read_is_left_to_the_load(
    tmp_path: Path, library: Library, text: bytes
) -> None:
    library("", "lib_before.py")
    (tmp_path / "app.py").write_bytes(text)
    assert preloaded("app.py") == set()


def test_a_script_that_is_gone_is_left_to_the_load(script: Script) -> None:
    path = script("")
    targets = find_targets([str(path)])
    path.unlink()
    preload(targets[0])


def test_a_library_sees_what_it_sees_in_the_load(script: Script, library: Library) -> None:
    library("import sys\nFOUND = sys.argv[:], sys.path[0]", "lib_looking.py")
    path = script("import lib_looking")
    preloaded(path)
    found = sys.modules["lib_looking"].FOUND
    assert found == ([str(path)], str(path.parent))


def test_it_leaves_no_finder_behind(script: Script) -> None:
    before = list(sys.meta_path)
    preloaded(script("import json"))
    assert sys.meta_path == before


def test_a_module_by_its_name(script: Script, library: Library) -> None:
    library("", "lib_before.py")
    script("import lib_before", "hooks.py")
    assert preloaded("hooks") == {"lib_before"}


def test_a_package_comes_before_its_modules(script: Script, library: Library) -> None:
    library("", "lib_before.py")
    library("", "lib_after.py")
    script('"""Bots."""\nimport lib_before', "bots/__init__.py")
    path = script("import lib_after", "bots/app.py")
    assert preloaded("bots.app") == preloaded(path) | {"lib_before", "lib_after"}
    script("import lib_before\nx = 1", "bots/__init__.py")
    for name in ("lib_before", "lib_after"):
        del sys.modules[name]
    assert preloaded(path) == {"lib_before"}


def test_an_installed_module_does_not_import_itself(library: Library) -> None:
    library("", "lib_before.py")
    library("import lib_before, lib_asking", "installed_bot/__init__.py")
    library("import installed_bot.words", "lib_asking.py")
    library("1 / 0", "installed_bot/words.py")
    assert preloaded("installed_bot") == {"lib_before"}


def test_a_module_that_is_gone_is_left_to_the_load(script: Script) -> None:
    path = script("", "hooks.py")
    targets = find_targets(["hooks"])
    path.unlink()
    preload(targets[0])
