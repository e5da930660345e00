"""Scripts, modules and folders → endpoints."""

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any

from hfhooks.errors import HfhooksError, LoadError, UsageError, place
from hfhooks.script.registry import Registry, collecting
from hfhooks.tracebacks import is_users, users_text
from hfhooks.worker.sources import FreshLoader, fresh_finder

__all__ = [
    "DEFAULT_SCRIPTS",
    "Target",
    "check_syntax",
    "errors_of",
    "find_targets",
    "first_on_path",
    "load",
]

DEFAULT_SCRIPTS = ("handlers.py", "app.py", "main.py")

DECLARES = re.compile(rb"\b(?:webhook_endpoint|add_webhook)\b[^\n]*\n\s*(?:async )?def ")
NOT_AT_TOP = (
    "Endpoints are declared where the script is imported: at its top level, not in a function "
    'or under `if __name__ == "__main__":`, which do not run here.'
)

# Packages whose name on PyPI is not the name they are imported by.
DISTRIBUTIONS = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dotenv": "python-dotenv",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@dataclass(frozen=True)
class Target:
    """One thing to import: a script (`file` is set) or a module."""

    name: str
    """Dotted module name."""
    folders: tuple[str, ...]
    """Absolute folders that come first on `sys.path` while it is imported."""
    file: str | None = None
    """Absolute path of the script."""
    key: str = field(default="", compare=False)
    """What the command line named, as an absolute path: the same although links behind it change,
    or scripts come into a folder."""

    @property
    def label(self) -> str:
        """What a person would call it."""
        return place(self.file) if self.file else self.name

    @property
    def program(self) -> str:
        """What the script sees as `sys.argv[0]`."""
        return self.file or self.name

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Target":
        return cls(**{**row, "folders": tuple(row["folders"])})


def find_targets(arguments: Sequence[str]) -> list[Target]:
    """Return what the command line names, without importing any of it.

    A file is a script; a folder means its first default script, or else every script in it;
    anything else is a dotted module. No argument means the first default script in the working
    folder. Raises `UsageError` for what is not there or cannot be a script.
    """
    if not arguments:
        here = [Path(name) for name in DEFAULT_SCRIPTS if Path(name).is_file()]
        if not here:
            names = "handlers.py, app.py or main.py"
            raise UsageError(f"no script given, and no {names} here.", help=_example())
        return [_script(here[0], here[0])]
    found = [target for argument in arguments for target in _targets_of(argument)]
    return list(dict.fromkeys(found))


def check_syntax(targets: Sequence[Target], files: Iterable[Path]) -> None:
    """Look at scripts without running them. Raises `LoadError` where they cannot be Python.

    `files` are looked at too, if they are Python and there.
    """
    scripts = {Path(target.file): target for target in targets if target.file}
    for script, target in scripts.items():
        if not script.read_bytes().strip():
            raise LoadError(f"{target.label}: no endpoint found.", _example(), target.file)
    for file in {*scripts, *files}:
        if file.suffix == ".py" and file.is_file():
            with errors_of(Target(file.stem, (), str(file))):
                compile(file.read_bytes(), file, "exec", dont_inherit=True)


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
        help = NOT_AT_TOP if any(map(_declares_some, targets)) else _example()
        raise LoadError(f"{labels}: no endpoint found.", help, targets[0].file)
    return registry


def _example() -> str:
    return "Decorate a function with @webhook_endpoint (from hfhooks import webhook_endpoint)."


def _declares_some(target: Target) -> bool:
    """Tell whether a script has endpoints that were not declared when it was imported."""
    if target.file is None:
        return False
    with suppress(OSError):
        return DECLARES.search(Path(target.file).read_bytes()) is not None
    return False


def _targets_of(argument: str) -> list[Target]:
    path = Path(argument)
    if path.is_dir():
        return _folder(path)
    if path.exists() or path.suffix == ".py" or os.sep in argument:
        return [_script(path, path)]
    return [_module(argument)]


def _folder(folder: Path) -> list[Target]:
    defaults = [folder / name for name in DEFAULT_SCRIPTS if (folder / name).is_file()]
    scripts = defaults[:1] or sorted(folder.glob("*.py"))
    if not scripts:
        raise UsageError(f"{folder}: no Python script in this folder.")
    return [_script(script, folder) for script in scripts]


def _script(path: Path, named: Path) -> Target:
    if not path.exists():
        siblings = [sibling.name for sibling in path.parent.glob("*.py")]
        close = get_close_matches(path.name, siblings, n=1)
        help = f"Did you mean {path.with_name(close[0])}?" if close else None
        raise UsageError(f"no such file: {path}", help)
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(f"{path} is not a Python script.", help="Name a .py file.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read.", help=f"Allow it: chmod u+r {path}")
    path = path.resolve()
    names, root = [path.stem.replace(".", "_")], path.parent
    while (root / "__init__.py").is_file():
        names.insert(0, root.name)
        root = root.parent
    folders = tuple(dict.fromkeys((str(path.parent), str(root))))
    name = ".".join(names).removesuffix(".__init__")
    return Target(name, folders, str(path), os.path.abspath(named))  # noqa: PTH100 # links stay


def _module(name: str) -> Target:
    folder = str(Path.cwd())
    top = name.partition(".")[0]
    if not top.isidentifier() or PathFinder.find_spec(top, [folder, *sys.path]) is None:
        script, colon, _ = name.partition(":")
        help = f"Name the script or module only: {script}" if colon else None
        raise UsageError(f"no such file or module: {name}", help)
    return Target(name, (folder,), key=f"{folder}/{name}")


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
    """Let a target import its own siblings, even where an earlier one has namesakes."""
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


@contextmanager
def errors_of(target: Target) -> Iterator[None]:
    """Turn what a script raises while it loads into one line that says where and what to do."""
    try:
        yield
    except BaseException as error:
        file, line = _place_of(error) or (target.file, None)
        where = place(file, line) if file else target.name
        if isinstance(error, HfhooksError):
            error.args = (f"{where}: {error}",)
            if isinstance(error, LoadError):
                error.file, error.line = file, line
            raise
        message, help = _explain(error, target)
        raise LoadError(f"{where}: {message}", help, file, line) from error


def _place_of(error: BaseException) -> tuple[str, int | None] | None:
    """Return file and line of the error in the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return next((place for place in reversed(places) if is_users(place[0])), None)


def _explain(error: BaseException, target: Target) -> tuple[str, str | None]:
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        call = "sys.exit()" if error.code is None else f"sys.exit({error.code!r})"
        return (
            f"the script called {call} while it was loading.",
            'Move it under `if __name__ == "__main__":`, which does not run here.',
        )
    if isinstance(error, SyntaxError):
        source = f": {error.text.strip()}" if error.text else ""
        return f"{kind}: {error.msg}{source}", None
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named {error.name!r}", _how_to_get(error.name, target)
    return f"{kind}: {text}" if (text := users_text(error)) else kind, None


def _how_to_get(module: str, target: Target) -> str:
    top = module.partition(".")[0]
    siblings = [path.stem for folder in target.folders for path in Path(folder).glob("*.py")]
    if close := get_close_matches(top, siblings, n=1):
        return f"Did you mean {close[0]!r}?"
    return f"Install it where hfhooks runs: pip install {DISTRIBUTIONS.get(top, top)}"
