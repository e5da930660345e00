"""The tasks and threads that there are, as the source of the product has them."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
KINDS = ("one", "helper", "core")
BARE = ("create_task", "ensure_future", "run_coroutine_threadsafe", "TaskGroup")
THREADS = ("CallThread", "Thread", "Timer", "ThreadPoolExecutor", "start_new_thread")
T = TypeVar("T")


def proves(*names: str) -> Callable[[T], T]:
    """Mark a test that puts a fault into the tasks or threads of these names."""
    return lambda test: test


@cache
def calls(folder: str) -> list[tuple[str, str, ast.Call]]:
    """Return each call in the files of a folder: where it is, what is called, and the call."""
    return [
        found
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.parent.name != "starters"  # these are texts for their readers
        for found in _calls(ast.parse(path.read_text()), str(path.relative_to(ROOT / folder)))
    ]


def _calls(node: ast.AST, place: str) -> Iterator[tuple[str, str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield place, ast.unparse(child.func).rpartition(".")[2], child
        named = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
        inner = f"{place} {child.name}" if isinstance(child, named) else place
        yield from _calls(child, inner)


def tasks() -> dict[str, str]:
    """Return the kind of each task that has an owner, by its name."""
    return {
        name: called
        for _, called, call in calls("hfhooks")
        if called in KINDS and (name := _text(call))
    }


def bare() -> set[str]:
    """Return the functions that begin tasks which have no such owner."""
    bare = {place for place, called, _ in calls("hfhooks") if called in BARE}
    return {place for place in bare if not place.startswith("tasks.py")}


def threads() -> set[str]:
    """Return the names of the threads that are begun, or who begins one that has no name."""
    named = {
        _text(call)
        or next((_value(word.value) for word in call.keywords if word.arg == "name"), place)
        for place, called, call in calls("hfhooks")
        if called in THREADS
    }
    return named - {""}  # whose name comes from elsewhere, where it is found too


def proven() -> set[str]:
    """Return the names of all that some test puts a fault into."""
    return {
        _value(argument)
        for _, called, call in calls("tests")
        if called == "proves"
        for argument in call.args
    }


def _text(call: ast.Call) -> str:
    return _value(call.args[0]) if call.args else ""


def _value(node: ast.AST) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""
