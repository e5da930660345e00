import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfhooks.errors import HfhooksError, LoadError
from hfhooks.script.registry import Handler
from hfhooks.supervisor.targets import find_targets
from hfhooks.worker.loading import load

Script = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("own_interpreter")
ENDPOINT = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef {}(payload): {}\n"


def loaded(*arguments: str | Path) -> dict[str, Handler]:
    registry = load(find_targets([str(argument) for argument in arguments]))
    return {row.endpoint.name: row.handler for row in registry.registrations.values()}


def failure(path: Path) -> LoadError:
    with pytest.raises(LoadError) as caught:
        loaded(path)
    assert caught.value.exit_code == 3
    return caught.value


def test_a_script_gives_its_endpoints_in_order(script: Script) -> None:
    path = script(ENDPOINT.format("b", "...") + ENDPOINT.format("a", "..."))
    assert list(loaded(path)) == ["b", "a"]


def test_main_guard_does_not_run(script: Script) -> None:
    path = script(ENDPOINT.format("a", "...") + "if __name__ == '__main__':\n    1 / 0\n")
    assert list(loaded(path)) == ["a"]


def test_siblings_can_be_imported(script: Script) -> None:
    script("WORD = 'sibling'", "bots/words.py")
    path = script("import words\n" + ENDPOINT.format("a", "return words.WORD"), "bots/app.py")
    assert loaded(path)["a"](None) == "sibling"


def test_a_sibling_can_import_its_script(script: Script) -> None:
    script("def word():\n    from app import WORD\n    return WORD", "words.py")
    path = script("WORD = 1\nimport words\n" + ENDPOINT.format("a", "return words.word()"))
    assert loaded(path)["a"](None) == 1


def test_scripts_and_siblings_of_one_name_do_not_collide(script: Script) -> None:
    for folder in ("one", "two"):
        script(f"WORD = '{folder}'", f"{folder}/words.py")
        script("import words\n" + ENDPOINT.format(folder, "return words.WORD"), f"{folder}/app.py")
    handlers = loaded("one/app.py", "two/app.py")
    assert {name: handler(None) for name, handler in handlers.items()} == {
        "one": "one",
        "two": "two",
    }


@pytest.mark.parametrize("call", ["append('lib')", "insert(0, 'lib')"])
def test_a_folder_that_a_script_adds_to_its_path_stays_there(script: Script, call: str) -> None:
    script("WORD = 'late'", "lib/late_words.py")
    text = f"import sys\nsys.path.{call}\n"
    path = script(text + ENDPOINT.format("a", "import late_words; return late_words.WORD"))
    other = script(ENDPOINT.format("b", "..."), "other/app.py")
    assert loaded(path, other)["a"](None) == "late"


def test_a_script_named_like_a_module_of_python_hides_nothing(script: Script) -> None:
    path = script(ENDPOINT.format("a", "..."), "json.py")
    assert list(loaded(path)) == ["a"]
    assert hasattr(sys.modules["json"], "loads")


def test_a_script_in_a_package_can_import_relatively(script: Script) -> None:
    script("", "mybot/__init__.py")
    script("WORD = 'relative'", "mybot/words.py")
    text = "from .words import WORD\nimport words\n" + ENDPOINT.format("a", "return WORD")
    assert loaded(script(text, "mybot/app.py"))["a"](None) == "relative"


def test_a_dotted_module(script: Script) -> None:
    script("", "mybot/__init__.py")
    script(ENDPOINT.format("a", "..."), "mybot/hooks.py")
    assert list(loaded("mybot.hooks")) == ["a"]


def test_a_module_in_the_working_folder_by_bare_name(script: Script) -> None:
    script(ENDPOINT.format("a", "..."), "hooks.py")
    assert list(loaded("hooks")) == ["a"]


def test_a_folder_means_its_default_script(script: Script) -> None:
    script(ENDPOINT.format("a", "..."), "bots/app.py")
    script("1 / 0", "bots/train.py")
    assert list(loaded("bots")) == ["a"]


def test_a_folder_without_a_default_script_means_all_its_scripts(script: Script) -> None:
    script(ENDPOINT.format("b", "..."), "bots/second.py")
    script(ENDPOINT.format("a", "..."), "bots/first.py")
    script("WORD = 1", "bots/words.py")
    assert list(loaded("bots/")) == ["a", "b"]


def test_several_at_once_and_each_once(script: Script) -> None:
    one, two = script(ENDPOINT.format("a", "...")), script(ENDPOINT.format("b", "..."), "two.py")
    assert list(loaded(two, one, two)) == ["b", "a"]


def test_string_annotations_and_odd_file_names(script: Script) -> None:
    path = script(
        "from __future__ import annotations\n" + ENDPOINT.format("a", "..."), "my-bot.v2.py"
    )
    assert list(loaded(path)) == ["a"]


def test_our_own_future_imports_do_not_leak_into_a_script(script: Script) -> None:
    text = (
        ENDPOINT.format("a", "...") + "def f(x: int): ...\nassert f.__annotations__ == {'x': int}"
    )
    assert list(loaded(script(text))) == ["a"]


def test_a_change_within_the_same_second_is_seen(script: Script) -> None:
    path = script(ENDPOINT.format("a", "return 1"))
    assert loaded(path)["a"](None) == 1
    assert loaded(script(ENDPOINT.format("a", "return 2")))["a"](None) == 2


def test_a_script_without_endpoints(script: Script) -> None:
    error = failure(script("x = 1"))
    assert str(error) == "app.py: no endpoint found."
    assert "@webhook_endpoint" in str(error.help)


def test_a_syntax_error_shows_its_line(script: Script) -> None:
    error = failure(script("x = 1\nprint('x'\n"))
    assert str(error) == "app.py:2: SyntaxError: '(' was never closed: print('x'"
    assert (error.file, error.line) == (str(script("")), 2)


def test_a_syntax_error_in_a_sibling_names_the_sibling(script: Script) -> None:
    script("\n\ndef", "words.py")
    assert str(failure(script("import words"))).startswith("words.py:3: SyntaxError: ")


def test_a_missing_package_says_how_to_get_it(script: Script) -> None:
    error = failure(script("\nimport no_such_package.sub"))
    assert str(error) == "app.py:2: no module named 'no_such_package'"
    assert str(error.help).endswith("pip install no_such_package")


def test_a_package_with_another_name_on_pypi(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    error = failure(script("import sklearn"))
    assert str(error.help).endswith("pip install scikit-learn")


@pytest.mark.parametrize(
    ("line", "distribution"),
    [
        ("import google.cloud.storage", "google-cloud-storage"),
        ("from google.cloud import storage", "google-cloud-storage"),
        ("from google.cloud.bigquery.table import Row", "google-cloud-bigquery"),
        ("from google.protobuf import message", "protobuf"),
        ("import azure.storage.blob as blob", "azure-storage-blob"),
        ("from Crypto.Cipher import AES", "pycryptodome"),
    ],
)
def test_a_package_is_told_by_all_that_the_line_imports(
    script: Script, line: str, distribution: str
) -> None:
    assert str(failure(script(line)).help).endswith(f"pip install {distribution}")


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/ada/.local/pipx/venvs/hfhooks", "pipx inject hfhooks pyyaml"),
        ("/home/ada/.local/share/pipx/venvs/hfhooks", "pipx inject hfhooks pyyaml"),
        ("/home/ada/.local/share/uv/tools/hfhooks", "uv tool install hfhooks --with pyyaml"),
        ("/home/ada/.cache/uv/archive-v0/x", "uvx --with pyyaml hfhooks"),
        ("/srv/bot/.venv", "pip install pyyaml"),
    ],
)
def test_how_to_install_it_depends_on_how_we_were(
    script: Script, monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.setattr(sys, "prefix", prefix)
    assert failure(script("import yaml")).help == f"Install it where hfhooks runs: {command}"


def test_a_module_of_ones_own_is_not_to_be_installed(script: Script, tmp_path: Path) -> None:
    (tmp_path / "mylib").mkdir()
    script("WORD = 1", "mylib/words.py")
    (tmp_path / "bots").mkdir()
    error = failure(script("from mylib.words import WORD", "bots/app.py"))
    assert error.help == (
        f"It is in {tmp_path}, where nothing looks for it. Say so: PYTHONPATH={tmp_path}"
    )
    error = failure(script("import mylib.wrods"))
    assert error.help == f"{tmp_path / 'mylib'} has no module 'wrods'."


def test_a_mistyped_sibling_is_offered(script: Script) -> None:
    script("", "helpers.py")
    assert failure(script("import helprs")).help == "Did you mean 'helpers'?"


def test_an_import_that_fails_inside_says_where(script: Script) -> None:
    script("def word():\n    raise RuntimeError('no word')\nword()", "words.py")
    assert str(failure(script("import words"))) == "words.py:2: RuntimeError: no word"


def test_a_name_that_a_library_lacks_is_the_scripts_line(script: Script) -> None:
    error = failure(script("\nfrom hfhooks import webhook"))
    assert str(error).startswith("app.py:2: ImportError: cannot import name 'webhook'")


def test_an_error_without_words_is_its_name(script: Script) -> None:
    assert str(failure(script("raise ValueError"))) == "app.py:1: ValueError"


@pytest.mark.parametrize(
    ("call", "shown"), [("sys.exit()", "sys.exit()"), ("exit(2)", "sys.exit(2)")]
)
def test_exit_at_import_is_caught(script: Script, call: str, shown: str) -> None:
    error = failure(script(f"import sys\n{call}"))
    assert str(error) == f"app.py:2: the script called {shown} while it was loading."
    assert "__main__" in str(error.help)


def test_a_wrong_argument_has_file_and_line(script: Script) -> None:
    text = "from hfhooks import webhook_endpoint\n@webhook_endpoint(on='push')\ndef a(p): ..."
    error = failure(script(text))
    assert str(error).startswith("app.py:2: on='push': unknown scope 'push'")
    assert error.line == 2


def test_a_path_taken_by_another_script_names_both(script: Script) -> None:
    one, two = script(ENDPOINT.format("a", "...")), script(ENDPOINT.format("a", "..."), "two.py")
    with pytest.raises(LoadError, match="two endpoints") as caught:
        loaded(one, two)
    assert "app.py:2 and two.py:2" in str(caught.value)


def test_a_blank_secret_in_a_script_keeps_its_exit_code(script: Script) -> None:
    path = script("from hfhooks import WebhooksServer\nWebhooksServer(webhook_secret='')")
    with pytest.raises(HfhooksError, match=r"app\.py:2: webhook_secret is empty") as caught:
        loaded(path)
    assert caught.value.exit_code == 4


def test_a_page_with_a_password_is_never_served_without_it(script: Script) -> None:
    error = failure(script(f"{ENDPOINT.format('a', '...')}\na.launch(auth=('me', 'password'))"))
    assert str(error).startswith("app.py:5: launch(auth=...) protects nothing here")
    assert "WebhooksServer(ui=...)" in str(error.help)


def test_a_failed_import_leaves_no_module_behind(script: Script) -> None:
    failure(script("1 / 0", "broken_one.py"))
    assert "broken_one" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        "def main():\n    @webhook_endpoint\n    def a(payload): ...",
        "if __name__ == '__main__':\n    @app.add_webhook('/a')\n    async def a(payload): ...",
    ],
)
def test_endpoints_that_are_not_at_the_top_are_explained(
    text: str, script: Callable[..., Path]
) -> None:
    path = script(f"from hfhooks import webhook_endpoint\n{text}\n")
    with pytest.raises(LoadError, match="no endpoint found") as caught:
        load(find_targets([str(path)]))
    assert caught.value.help and "at its top level" in caught.value.help
