"""Scripts, modules and folders → endpoints."""

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from hfhooks.errors import LoadError
from hfhooks.script.failures import errors_of
from hfhooks.script.registry import Registry, collecting
from hfhooks.script.target import EXAMPLE, Target
from hfhooks.worker.sources import FreshLoader, fresh_finder

__all__ = ["first_on_path", "load"]

DECLARES = re.compile(rb"\b(?:webhook_endpoint|add_webhook)\b[^\n]*\n\s*(?:async )?def ")
NOT_AT_TOP = (
    "Endpoints are declared where the script is imported: at its top level, not in a function "
    'or under `if __name__ == "__main__":`, which do not run here.'
)


def load(targets: Sequence[Target]) -> Registry:
    """Import the targets and return what they declare.

    Raises `LoadError` with file and line for whatever goes wrong inside them.
    """
    fresh_finder().files.update(target.file for target in targets if target.file)
    registry = Registry(is_served=True)
    with collecting(registry):
        for number, target in enumerate(targets):
            with first_on_path(target, targets[:number]), errors_of(target):
                _import(target)
    if not registry.registrations:
        labels = ", ".join(target.label for target in targets)
        help = NOT_AT_TOP if any(map(_declares_some, targets)) else EXAMPLE
        raise LoadError(f"{labels}: no endpoint found.", help, targets[0].file)
    return registry


def _declares_some(target: Target) -> bool:
    """Tell whether a script has endpoints that were not declared when it was imported."""
    if target.file is None:
        return False
    with suppress(OSError):
        return DECLARES.search(Path(target.file).read_bytes()) is not None
    return False


def _import(target: Target) -> None:
    if target.file is None or "." in target.name:
        importlib.import_module(target.name)
        return
    name = _free_name(target.name)
    spec = spec_from_loader(name, loader := FreshLoader(name, target.file))
    assert spec is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _free_name(name: str) -> str:
    """Return a module name that hides nothing: a script may be called `json.py`."""
    free, number = name, 1
    while free in sys.modules or free in sys.stdlib_module_names:
        number += 1
        free = f"{name}_{number}"
    return free


@contextmanager
def first_on_path(target: Target, earlier: Sequence[Target]) -> Iterator[None]:
    """Make a target import its own siblings, even where an earlier one has namesakes."""
    folders = list(dict.fromkeys(folder for other in earlier for folder in other.folders))
    _put_first(list(dict.fromkeys([*target.folders, *folders])))
    namesakes = _namesakes(target, folders)
    for name in namesakes:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.modules.update(namesakes)
        _put_first(folders)


def _put_first(folders: Sequence[str]) -> None:
    # In place, and from what is there now: a script may have added folders of its own.
    sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in folders)]


def _namesakes(target: Target, folders: Sequence[str]) -> dict[str, ModuleType]:
    others = set(folders) - set(target.folders)
    if not others:
        return {}
    shadowed = {
        name
        for name, module in sys.modules.items()
        if "." not in name and _home(module) in others and _is_in(name, target.folders)
    }
    return {name: mod for name, mod in sys.modules.items() if name.partition(".")[0] in shadowed}


def _home(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    if not file:
        return None
    path = Path(file)
    return str(path.parent.parent if path.stem == "__init__" else path.parent)


def _is_in(name: str, folders: Sequence[str]) -> bool:
    return PathFinder.find_spec(name, list(folders)) is not None
