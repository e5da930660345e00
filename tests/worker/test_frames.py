import json
import os
import sysconfig
from pathlib import Path

import pytest

import hfhooks
from hfhooks.worker.frames import is_users

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
