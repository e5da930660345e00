import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hfhooks.errors import LoadError, UsageError
from hfhooks.script.target import Target
from hfhooks.supervisor.targets import check_syntax, code_of, find_targets

Script = Callable[..., Path]

NO_TEXT = os.fsdecode(b"\xff.py")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(targets: Sequence[Target]) -> list[str]:
    return [os.path.relpath(target.file or "") for target in targets]


@pytest.mark.parametrize("name", ["handlers.py", "app.py", "main.py"])
def test_no_argument_means_a_default_script_here(script: Script, name: str) -> None:
    script("", "zzz.py")
    path = script("", name)
    assert find_targets([]) == find_targets([str(path)])


def test_handlers_py_comes_before_app_py(script: Script) -> None:
    script("", "app.py")
    path = script("", "handlers.py")
    assert find_targets([]) == find_targets([str(path)])


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["bots"], ["bots/app.py"]),
        (["bots/"], ["bots/app.py"]),
        (["."], ["app.py"]),
        (["several"], ["several/a.py", "several/b.py"]),
        (["two.py", "app.py"], ["two.py", "app.py"]),
        (["app.py", "./app.py", "bots/../app.py", "."], ["app.py"]),
        (["several/b.py", "several"], ["several/b.py", "several/a.py"]),
    ],
)
def test_scripts_and_folders_each_once_in_their_order(
    script: Script, arguments: list[str], found: list[str]
) -> None:
    for name in ("app.py", "two.py", "bots/app.py", "bots/main.py", "several/b.py", "several/a.py"):
        script("1 / 0  # nothing is imported", name)
    script("", "several/notes.txt")
    assert files(find_targets(arguments)) == found


@pytest.mark.parametrize(
    ("path", "name", "folders"),
    [
        ("app.py", "app", ["."]),
        ("my-bot.v2.py", "my-bot_v2", ["."]),
        ("bots/app.py", "bots.app", ["bots", "."]),
        ("bots/more/app.py", "bots.more.app", ["bots/more", "."]),
        ("bots/__init__.py", "bots", ["bots", "."]),
        ("loose/app.py", "app", ["loose"]),
    ],
)
def test_a_script_has_its_own_folder_and_the_one_that_its_package_is_in(
    script: Script, tmp_path: Path, path: str, name: str, folders: list[str]
) -> None:
    for package in ("bots", "bots/more"):
        script("", f"{package}/__init__.py")
    [target] = find_targets([str(script("", path))])
    assert (target.name, target.file) == (name, str(tmp_path / path))
    assert target.folders == tuple(str((tmp_path / folder).resolve()) for folder in folders)


def test_a_module_is_looked_for_here_first(script: Script, tmp_path: Path) -> None:
    script("1 / 0", "mybot/__init__.py")
    assert find_targets(["mybot.hooks"]) == [Target("mybot.hooks", (str(tmp_path),))]
    assert find_targets(["json.tool"])[0].file is None


def test_a_key_stays_though_links_behind_it_change_or_scripts_come(
    script: Script, tmp_path: Path
) -> None:
    for name in ("one/a.py", "two/a.py", "two/app.py"):
        script("", name)
    link = tmp_path / "current"
    keys = []
    for folder in ("one", "two"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / folder)
        [target] = find_targets(["current"])
        assert target.folders == (str(tmp_path / folder),)
        keys.append(target.key)
    assert keys == [str(link)] * 2


def test_a_target_is_called_what_a_person_would_call_it(script: Script) -> None:
    assert find_targets([str(script(""))])[0].label == "app.py"
    assert Target("my.bot", ("/",)).label == "my.bot"


@pytest.mark.parametrize(
    ("argument", "words", "help"),
    [
        ("", "a script's name is empty.", "Name one, or leave it out."),
        ("nope.py", "no such file: nope.py", None),
        ("hooks.py", "no such file: hooks.py", "Did you mean hook.py?"),
        ("bots/nope", "no such file: bots/nope", None),
        ("notes.txt", "notes.txt is not a Python script", "Name a .py file."),
        (NO_TEXT, "is no text.", "Rename it, or its folder, with characters of UTF-8."),
        ("fifo.py", "fifo.py is not a Python script", "Name a .py file."),
        ("empty", "empty: no Python script in this folder", None),
        ("no_such_module", "no such file or module: no_such_module", None),
        ("no-module.at.all", "no such file or module: no-module.at.all", None),
        ("hook:app", "no such file or module: hook:app", "Name the script or module only: hook"),
    ],
)
def test_what_is_not_there_is_wrong_usage(
    script: Script, tmp_path: Path, argument: str, words: str, help: str | None
) -> None:
    script("", "hook.py")
    script("", "notes.txt")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo.py")
    script("", NO_TEXT)
    with pytest.raises(UsageError) as caught:
        find_targets([argument])
    assert words in str(caught.value)
    assert caught.value.help == help
    assert caught.value.exit_code == 2


def test_nothing_to_serve_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"no handlers\.py, app\.py or main\.py here"):
        find_targets([])


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_script_that_cannot_be_read_is_wrong_usage(script: Script) -> None:
    path = script("")
    path.chmod(0)
    with pytest.raises(UsageError, match="cannot be read") as caught:
        find_targets([str(path)])
    assert "chmod u+r" in str(caught.value.help)


def checked(path: Path, *files: Path) -> None:
    check_syntax(find_targets([str(path)]), files)


def test_a_script_is_looked_at_and_not_run(script: Script) -> None:
    before = set(sys.modules)
    checked(script("import this\n1 / 0"), script("raise SystemExit", "words.py"))
    assert "this" not in set(sys.modules) - before


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_empty_script_has_no_endpoint(script: Script, text: str) -> None:
    with pytest.raises(LoadError, match=r"^app\.py: no endpoint found") as caught:
        checked(script(text))
    assert caught.value.file == str(script(text))


def test_an_empty_script_is_named_also_after_a_module(script: Script) -> None:
    targets = [Target("some_module", ()), Target("app", (), str(script("")))]
    with pytest.raises(LoadError, match=r"app\.py: no endpoint found"):
        check_syntax(targets, [])


@pytest.mark.parametrize(
    ("text", "line"),
    [("x = (\n", 1), ("\n\ndef", 3), ("return 1", 1), ("x = 1\n  y = 2", 2), ("'\udcff'", 1)],
)
@pytest.mark.parametrize("name", ["app.py", "words.py"])
def test_what_cannot_be_python_is_said_with_its_place(
    script: Script, tmp_path: Path, name: str, text: str, line: int
) -> None:
    path = script("x = 1")
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LoadError, match=rf"^{name}(:{line})?: SyntaxError|IndentationError"):
        checked(path, tmp_path / "words.py")


def test_what_is_no_python_or_gone_is_not_looked_at(script: Script, tmp_path: Path) -> None:
    checked(script("x = 1"), script("x = (", "data.json"), tmp_path / "gone.py", tmp_path)


def test_future_imports_of_ours_do_not_count(script: Script) -> None:
    checked(script("print(x)"), script("from __future__ import annotations", "words.py"))


def test_what_python_warns_of_is_left_to_the_worker(script: Script) -> None:
    checked(script("x = 1 is 1"))


def test_the_code_of_a_script_or_module_is_the_file_that_runs_first(
    script: Script, tmp_path: Path
) -> None:
    path = script("", "plain/handlers.py")
    assert code_of(find_targets(["plain/handlers.py"])[0]) == path
    assert code_of(find_targets(["plain.handlers"])[0]) == tmp_path / "plain"
    first = script("", "package/__init__.py")
    assert code_of(find_targets(["package.handlers"])[0]) == first
