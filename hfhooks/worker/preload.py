"""What a script imports from libraries before anything else, imported before the script is loaded.

Only a spare that the gateway has started for it does this: the order of effects stays that of the
script, because nothing of the user's own runs, and no import overtakes a statement.
"""

import ast
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import decode_source, find_spec
from pathlib import Path
from types import ModuleType

from hfhooks.script.registry import Registration, Registry, collecting
from hfhooks.script.target import Target
from hfhooks.worker.loading import first_on_path
from hfhooks.worker.sources import find_elsewhere, is_local

__all__ = ["leading_imports", "preload"]

Import = ast.Import | ast.ImportFrom


class TooEarly(BaseException):
    """An import would run what belongs to the load. No `Exception`: libraries swallow those."""


def preload(target: Target) -> None:
    """Execute the imports that a target begins with, as far as they bring libraries alone.

    What goes wrong ends it without a word: the load comes to the same point, and tells.
    """
    sys.argv[:] = [target.program]
    with (
        suppress(BaseException),
        _silence(),
        first_on_path(target, ()),
        collecting(_NoEndpoints(is_served=True)),
        _only_libraries(target),
    ):
        names = {"__name__": target.name}
        for statement in leading_imports(_source(target), _is_local):
            code = compile(ast.Module([statement], []), "<preload>", "exec", dont_inherit=True)
            exec(code, names)  # noqa: S102 # an import statement of the script


def leading_imports(source: str, is_local: Callable[[str], bool]) -> list[Import]:
    """Return the imports before any other statement, and before the first of a local package.

    `is_local` gets top-level names; relative imports are local. Raises `SyntaxError`.
    """
    found: list[Import] = []
    for statement in ast.parse(source).body:
        if _does_nothing(statement):
            continue
        if not isinstance(statement, Import):
            break
        if any(not name or is_local(name) for name in _packages(statement)):
            break
        found.append(statement)
    return found


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__" and not statement.level
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_text or isinstance(statement, ast.Pass)


def _packages(statement: Import) -> list[str]:
    """Return the top-level names that a statement imports from, "" for a relative import."""
    if isinstance(statement, ast.Import):
        return [alias.name.partition(".")[0] for alias in statement.names]
    return ["" if statement.level else str(statement.module).partition(".")[0]]


def _is_local(name: str) -> bool:
    try:
        return find_spec(name) is None  # what is not there yet may come as the user's own
    except TooEarly:
        return True


def _source(target: Target) -> str:
    return "\n".join(decode_source(Path(file).read_bytes()) for file in _files(target))


def _files(target: Target) -> Iterator[str]:
    """Yield the files that importing the target executes, its packages' own first."""
    if target.file and "." not in target.name:
        yield target.file
        return
    name, path = "", sys.path
    for part in target.name.split("."):
        name = f"{name}.{part}".removeprefix(".")
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return
        if spec.has_location and spec.origin:
            yield spec.origin
        path = spec.submodule_search_locations or []


class _OnlyLibraries:
    """Finds nothing of the user's own and nothing of the target, which libraries may ask for."""

    def __init__(self, target: Target) -> None:
        self._target = target.name.partition(".")[0]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = find_elsewhere(self, fullname, path, target)
        is_target = fullname.partition(".")[0] == self._target
        if is_target or (spec is not None and is_local(spec)):
            raise TooEarly(fullname)
        return spec


@contextmanager
def _only_libraries(target: Target) -> Iterator[None]:
    sys.meta_path.insert(0, finder := _OnlyLibraries(target))
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NoEndpoints(Registry):
    """Stops a library that declares endpoints: its import must happen in the load."""

    def add(self, registration: Registration) -> None:
        raise TooEarly(registration.place)


@contextmanager
def _silence() -> Iterator[None]:
    """Print nothing meanwhile: each spare would print it again."""
    kept = {number: os.dup(number) for number in (1, 2)}
    null = os.open(os.devnull, os.O_WRONLY)
    for number in kept:
        os.dup2(null, number)
    os.close(null)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a library may have put anything there
                stream.flush()
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
