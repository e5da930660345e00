import json
import os
import sysconfig
from pathlib import Path

import pytest

import hfhooks
from hfhooks.tracebacks import is_users, users_lines

OURS = Path(hfhooks.__file__).parent


@pytest.mark.parametrize(
    "file",
    [
        json.__file__,
        pytest.__file__,
        str(OURS / "cli.py"),
        f"{sysconfig.get_path('purelib')}/words/__init__.py",
        "/home/ada/.local/lib/python3.11/site-packages/words.py",
        "/usr/lib/python3/dist-packages/words.py",
        "<frozen importlib._bootstrap>",
    ],
)
def test_libraries_are_not_the_users(file: str) -> None:
    assert not is_users(file.replace("/", os.sep))


@pytest.mark.parametrize("file", ["/home/ada/app.py", f"{OURS}_bots/app.py", "<string>"])
def test_everything_else_is(file: str) -> None:
    assert is_users(file)


HEAD = "Traceback (most recent call last):"
OWN = ['  File "/home/ada/app.py", line 3, in train', "    load()"]
LIBRARY = [f'  File "{json.__file__}", line 3, in loads', "    decode()", "    ^^^^^^^^"]


def test_of_a_traceback_the_users_frames_stay() -> None:
    ending = ["ValueError: no", "  with a second line", "    and a third"]
    assert users_lines([HEAD, *LIBRARY, *OWN, *LIBRARY, *ending]) == [HEAD, *OWN, *ending]


def test_each_of_several_exceptions_is_shown() -> None:
    between = [
        "KeyError: 1",
        "",
        "During handling of the above exception, another one occurred:",
        "",
    ]
    lines = [HEAD, *OWN, *LIBRARY, *between, HEAD, *OWN, "ValueError: no"]
    assert users_lines(lines) == [HEAD, *OWN, *between, HEAD, *OWN, "ValueError: no"]


def test_all_frames_stay_where_none_is_the_users() -> None:
    lines = [HEAD, *LIBRARY, "ValueError: no"]
    assert users_lines(lines) == lines
    assert users_lines(["no traceback"]) == ["no traceback"]


def test_in_a_group_of_exceptions_too() -> None:
    head = ["  + Exception Group Traceback (most recent call last):"]
    own = ['  |   File "/home/ada/app.py", line 3, in train', "  |     load()"]
    library = [f'  |   File "{json.__file__}", line 3, in loads', "  |     decode()"]
    ending = ["  | ExceptionGroup: no (1 sub-exception)", "  +-+---------------- 1 ---"]
    assert users_lines([*head, *own, *library, *ending]) == [*head, *own, *ending]
