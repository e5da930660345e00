"""The user's own modules: which they are, compiled afresh, and the files they come from."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from hfhooks.tracebacks import is_users

__all__ = [
    "FreshFinder",
    "FreshLoader",
    "find_elsewhere",
    "fresh_finder",
    "is_local",
    "loaded_files",
    "local_files",
]


class FreshLoader(SourceFileLoader):
    """Compiles from source each time: a cached .pyc may be older than a save in this second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class FreshFinder:
    """Finds what the other finders find, and has the user's own modules compiled from source."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        """What was asked for: a module that fails is not in `sys.modules` afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = find_elsewhere(self, fullname, path, target)
        if spec is not None and spec.has_location and spec.origin and is_local(spec):
            self.files.add(spec.origin)
            if type(spec.loader) is SourceFileLoader:
                spec.loader = FreshLoader(fullname, spec.origin)
        return spec


def is_local(spec: ModuleSpec) -> bool:
    """Tell whether a module is the user's own; of a namespace package, whether any part is."""
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations
    return any(map(is_users, filter(None, places or ())))


def find_elsewhere(
    finder: Any,
    fullname: str,
    path: Sequence[str] | None,
    target: ModuleType | None = None,
) -> ModuleSpec | None:
    """Return what the finders after this one find: those of editable installs are among them."""
    place = sys.meta_path.index(finder)
    for other in sys.meta_path[place + 1 :]:
        spec = other.find_spec(fullname, path, target) if hasattr(other, "find_spec") else None
        if spec is not None:
            return spec
    return None


def fresh_finder() -> FreshFinder:
    """Return the finder that all imports of this process ask first, from now on."""
    for finder in sys.meta_path:
        if isinstance(finder, FreshFinder):
            return finder
    sys.meta_path.insert(0, finder := FreshFinder())
    return finder


def local_files() -> list[str]:
    """Return the absolute paths of the user's own modules that were imported, or tried, sorted."""
    return sorted(loaded_files() | fresh_finder().files)


def loaded_files() -> set[str]:
    """Return the absolute paths of the user's own modules that were imported."""
    files = map(_file, list(sys.modules.values()))
    return {file for file in files if file and is_users(file) and Path(file).is_absolute()}


def _file(module: object) -> str | None:
    # Asking a lazy module for anything would import it.
    try:
        fields = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return None
    file = fields.get("__file__")
    return file if isinstance(file, str) else None
