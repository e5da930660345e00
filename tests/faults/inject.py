"""hfhooks with faults: `python -m tests.faults.inject FILE SEAM… -- serve app.py …`.

A seam is `module:name` or `module:Class.name`. Once the file is there, whoever uses one has an
exception that nobody foresaw. With `=NUMBER` behind it, it is a constant that has another value,
with `=hangs` a coroutine function whose call never ends. `break_at` breaks one in a process that
runs already.
"""

import asyncio
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["Injected", "break_at"]


class Injected(Exception):
    """A fault that nobody foresaw."""


def break_at(
    seam: str, is_struck: Callable[[], bool], put: Callable[[Any, str, Any], None] = setattr
) -> None:
    """Let whoever uses this have a fault, whenever it is struck."""
    owner, name = _found(seam)
    sound: Any = getattr(owner, name, None)

    def check() -> None:
        if is_struck():
            raise Injected(seam)

    def broken(*args: Any, **options: Any) -> Any:
        check()
        return sound(*args, **options)

    is_called = inspect.isroutine(sound) or inspect.ismodule(owner)
    put(owner, name, broken if is_called else _Broken(name, sound, check))


class _Broken:
    """A property, or what instances have, that cannot be had while `check` raises."""

    def __init__(self, name: str, sound: Any, check: Callable[[], None]) -> None:
        self._name, self._sound, self._check = name, sound, check

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        self._check()
        return self._sound.__get__(instance, owner) if self._sound else vars(instance)[self._name]

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value


def _found(seam: str) -> tuple[Any, str]:
    """Return what has it, and its name there."""
    module, _, path = seam.partition(":")
    *classes, name = path.split(".")
    owner: Any = import_module(module)
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


async def _hang(*_: Any) -> None:
    await asyncio.Event().wait()


def main() -> None:
    end = sys.argv.index("--")
    file, *seams = sys.argv[1:end]
    del sys.argv[1 : end + 1]
    for seam in seams:
        place, _, value = seam.partition("=")
        if value:
            owner, name = _found(place)
            setattr(owner, name, _hang if value == "hangs" else float(value))
        else:
            break_at(seam, Path(file).exists)
    from hfhooks.__main__ import main

    main()


if __name__ == "__main__":
    main()
