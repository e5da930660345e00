"""What `launch` is given for a server's page, as Gradio's own takes it."""

import ast
import inspect
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from hfhooks.errors import EndpointError, place

__all__ = ["PROTECTING", "check_is_reached", "mount_page", "options_of"]

log = logging.getLogger(__name__)
PROTECTING = ("auth", "auth_dependency", "allowed_paths", "blocked_paths", "max_file_size")
"""Arguments of Gradio's `launch` by which somebody, or something, is kept out."""
ORDER = (
    *("inline", "inbrowser", "share", "debug", "max_threads", "auth", "auth_message"),
    *("prevent_thread_lock", "show_error", "server_name", "server_port"),
)
"""Those that may be given without their names."""
OURS = frozenset({"app", "blocks", "path"})
"""Arguments of `mount_gradio_app` that say what is mounted, and where."""
ELSEWHERE = frozenset({"server_name", "server_port"})
"""Arguments that it takes, and that change nothing: hfhooks listens."""
AS_LAUNCHED = {"show_error": False, "ssr_mode": False}
"""What a page is mounted with unless its author says otherwise."""
PATHS = ("allowed_paths", "blocked_paths")
"""Arguments that `launch` takes from the environment, too, and `mount_gradio_app` does not."""


def options_of(ui: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `launch` by which a page is to be mounted.

    Those that mean nothing here are named in a note. Raises `EndpointError` for one that would
    keep somebody out and cannot.
    """
    if len(args) > len(ORDER):
        raise EndpointError(f"launch() takes what follows {ORDER[-1]} by its name.")
    given = {**dict(zip(ORDER, args, strict=False)), **kwargs}
    wanted = {name: value for name, value in given.items() if value is not None}
    taken = _taken_by(ui)
    for name in PROTECTING:
        if name in wanted and name not in taken:
            raise EndpointError(
                f"launch({name}=...) protects nothing here: the page would be open to everybody.",
                help=_help(ui, name),
            )
    # False is how most of them are switched off, and prevent_thread_lock is always on.
    idle = [name for name, value in wanted.items() if value is not False and name not in taken]
    idle += ELSEWHERE & taken & wanted.keys()
    if named := ", ".join(f"{name}=..." for name in idle if name != "prevent_thread_lock"):
        log.warning("launch(%s): this means nothing here, and is ignored.", named)
    return {name: value for name, value in wanted.items() if name in taken}


def mount_page(app: Any, ui: Any, options: Mapping[str, Any]) -> None:
    """Show Gradio's Blocks at the root of an application."""
    taken = _taken_by(ui)
    named = {name: _listed(f"GRADIO_{name.upper()}") for name in PATHS}
    defaults = AS_LAUNCHED | {name: paths for name, paths in named.items() if paths}
    known = {name: value for name, value in defaults.items() if name in taken}
    _gradio().mount_gradio_app(app, ui, "/", **{**known, **options})


def check_is_reached(files: Iterable[str]) -> None:
    """Accept no page that is protected where its script is run, and not where it is served.

    `files` are the user's own. Raises `EndpointError` with the place of the call that is not made
    here, also where what it is given cannot be told.
    """
    trees = {file: _tree(file) for file in files}
    words = {word for tree in trees.values() for word in _words_of(tree)}
    unknown = next((f"{name}=..." for name in PROTECTING if name in words), "...")
    for file, tree in trees.items():
        for given, line in _protecting(tree, unknown):
            raise EndpointError(
                f"{place(file, line)}: launch({given}) is not called where the script is served: "
                "the page would be open to everybody.",
                help="Call it at the script's top level, where it returns at once: not in a "
                'function or under `if __name__ == "__main__":`, which do not run here. Where the '
                "page is for everybody: call launch() there.",
            )


def _tree(file: str) -> ast.AST:
    with suppress(OSError, ValueError, SyntaxError):  # it is no file, as of a notebook
        return ast.parse(Path(file).read_bytes())
    return ast.Module([], [])


def _protecting(tree: ast.AST, unknown: str) -> Iterator[tuple[str, int]]:
    """Yield what is given to `launch` in a script that keeps somebody out, or may do so.

    `unknown` is what it may be where that cannot be told.
    """
    told: set[ast.AST] = set()
    modules = {each.asname or each.name for each in ast.walk(tree) if isinstance(each, ast.alias)}
    for node in ast.walk(tree):  # a call before what it calls
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            names, are_all = _arguments_of(node)
            if node.func.attr in ("launch", "run"):
                yield from ((f"{each}=...", node.lineno) for each in PROTECTING if each in names)
            is_module = ast.unparse(node.func.value) in modules  # such as `subprocess`
            if are_all:
                told.add(node.func)
            elif node.func.attr == "run" and unknown != "..." and not is_module:
                yield unknown, node.lineno
        if _is_launch(node) and node not in told:
            yield unknown, node.lineno


def _arguments_of(call: ast.Call) -> tuple[set[str], bool]:
    """Return the arguments of `launch` that a call gives, and whether these are all."""
    given = [*zip(ORDER, call.args, strict=False), *((k.arg, k.value) for k in call.keywords)]
    are_all = not any(name is None or isinstance(value, ast.Starred) for name, value in given)
    return {name for name, value in given if name and not _is_none(value)}, are_all


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_launch(node: ast.AST) -> TypeGuard[ast.expr]:
    """Tell whether this stands for the method, as in `app.launch` or `getattr(app, "launch")`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        return node.func.id == "getattr" and "launch" in texts
    return isinstance(node, ast.Attribute) and node.attr == "launch"


def _words_of(tree: ast.AST) -> set[object]:
    """Return the texts in a script, and the names that it gives to arguments."""
    nodes = list(ast.walk(tree))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return texts | {node.arg for node in nodes if isinstance(node, ast.keyword)}


def _taken_by(ui: object) -> frozenset[str]:
    """Return the arguments that the installed Gradio mounts a page with; of another page none."""
    gradio = _gradio()
    if gradio is None or not isinstance(ui, gradio.Blocks):
        return frozenset()
    return frozenset(inspect.signature(gradio.mount_gradio_app).parameters) - OURS


def _gradio() -> Any:
    return sys.modules.get("gradio")  # who has made Blocks has imported it


def _help(ui: object, name: str) -> str:
    if ui is None:
        return "Give the server the page that it is for: WebhooksServer(ui=...)."
    gradio = _gradio()
    if gradio is None or not isinstance(ui, gradio.Blocks):
        return f"The ui is an application of its own: have it do what {name}= would."
    return "A newer Gradio can be mounted with it: pip install --upgrade gradio"


def _listed(variable: str) -> list[str]:
    return [path.strip() for path in os.environ.get(variable, "").split(",") if path.strip()]
