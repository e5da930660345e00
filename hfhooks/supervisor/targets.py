"""Scripts, modules and folders, as the command line names them."""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from warnings import catch_warnings, simplefilter

from hfhooks.errors import LoadError, UsageError
from hfhooks.script.failures import errors_of
from hfhooks.script.target import EXAMPLE, Target

__all__ = ["DEFAULT_SCRIPTS", "check_syntax", "code_of", "find_targets"]

DEFAULT_SCRIPTS = ("handlers.py", "app.py", "main.py")
BEGIN = "Write one to begin with: hfhooks init"


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
            raise UsageError(f"no script given, and no {names} here.", help=BEGIN)
        return [_script(here[0], here[0])]
    found = [target for argument in arguments for target in _targets_of(argument)]
    return list(dict.fromkeys(found))


def code_of(target: Target) -> Path | None:
    """Return the file that runs first when this is loaded, or the folder of a package without."""
    if target.file:
        return Path(target.file)
    spec = _spec_of(target.name, target.folders[0])
    found = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
    return Path(found) if found else None


def check_syntax(targets: Sequence[Target], files: Iterable[Path]) -> None:
    """Look at scripts without running them. Raises `LoadError` where they cannot be Python.

    `files` are looked at too, if they are Python and there.
    """
    scripts = {Path(target.file): target for target in targets if target.file}
    for script, target in scripts.items():
        if not script.read_bytes().strip():
            raise LoadError(f"{target.label}: no endpoint found.", EXAMPLE, target.file)
    for file in {*scripts, *files}:
        if file.suffix == ".py" and file.is_file():
            with errors_of(Target(file.stem, (), str(file))), catch_warnings():
                simplefilter("ignore")  # the worker says them
                compile(file.read_bytes(), file, "exec", dont_inherit=True)


def _targets_of(argument: str) -> list[Target]:
    if not argument:  # as of a variable that is not set, which nobody means by the folder here
        raise UsageError("a script's name is empty.", "Name one, or leave it out.")
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
        from difflib import get_close_matches  # which nothing but an error needs

        siblings = [sibling.name for sibling in path.parent.glob("*.py")]
        close = get_close_matches(path.name, siblings, n=1)
        help = f"Did you mean {path.with_name(close[0])}?" if close else None
        raise UsageError(f"no such file: {path}", help)
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(f"{path} is not a Python script.", help="Name a .py file.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read.", help=f"Allow it: chmod u+r {path}")
    path = path.resolve()
    try:
        str(path).encode()
    except UnicodeError as error:  # neither a URL nor JSON could name it
        help = "Rename it, or its folder, with characters of UTF-8."
        raise UsageError(f"the name of {str(path)!r} is no text.", help) from error
    names, root = [path.stem.replace(".", "_")], path.parent
    while (root / "__init__.py").is_file():
        names.insert(0, root.name)
        root = root.parent
    folders = tuple(dict.fromkeys((str(path.parent), str(root))))
    name = ".".join(names).removesuffix(".__init__")
    return Target(name, folders, str(path), os.path.abspath(named))  # noqa: PTH100 # links stay


def _module(name: str) -> Target:
    folder = str(Path.cwd())
    if _spec_of(name, folder) is None:
        script, colon, _ = name.partition(":")
        help = f"Name the script or module only: {script}" if colon else None
        raise UsageError(f"no such file or module: {name}", help)
    return Target(name, (folder,), key=f"{folder}/{name}")


def _spec_of(name: str, folder: str) -> ModuleSpec | None:
    """Return where the first module of a dotted name is, seen from this folder."""
    top = name.partition(".")[0]
    return PathFinder.find_spec(top, [folder, *sys.path]) if top.isidentifier() else None
