"""The layout shows the architecture, and this keeps it true."""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hfhooks"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent.name != "starters"  # these are texts for their readers
}
LAYERS = [
    ["errors", "redact", "tracebacks", "version"],
    ["private", "secret", "tasks"],
    ["model"],
    ["http"],
    ["journal", "script", "settings"],
    ["dispatch", "hub", "tunnels", "worker"],
    ["console", "gateway", "inspector", "supervisor"],
    ["serving"],
    ["cli", "testing"],
    ["__main__", ""],
]
"""From the bottom to the top: a module imports from its own package and from layers below. The last
one has the public names, which nothing of ours imports."""
BACK = {
    "hfhooks.script.running": "hfhooks.serving.notebook",
    "hfhooks.script.server": "hfhooks.serving.asgi",
}
"""The arrows that point back: what a script says may start what serves it."""
YET = {
    ("hfhooks.http.listener", "hfhooks.dispatch.client"),
    ("hfhooks.http.passage", "hfhooks.dispatch.client"),
    ("hfhooks.inspector.app", "hfhooks.gateway.admission"),
    ("hfhooks.inspector.app", "hfhooks.gateway.app"),
    ("hfhooks.inspector.metrics", "hfhooks.gateway.app"),
    ("hfhooks.serving.node", "hfhooks.cli.keyboard"),
    ("hfhooks.serving.node", "hfhooks.cli.keys"),
}
"""What is still to be turned round."""
ONLY: dict[str, str] = {
    "gradio": "nowhere",
    "huggingface_hub": "hub",
    "prometheus_client": "inspector.metrics",
    "pyngrok": "tunnels.ngrok",
    "sqlite3": "journal.sqlite",
}
"""Where a library may be used that must have one place."""


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the modules that a file imports when it runs, at once, later, or by name."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    ours = set(_processes(tree))
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)
        elif isinstance(node, ast.Constant) and str(node.value) in {*MODULES} - {"hfhooks"} - ours:
            yield str(node.value)  # of a table, or an argument of `import_module`


def _processes(tree: ast.Module) -> Iterator[str]:
    """Yield what is started as a process of its own: `python -m this`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List):
            words = [getattr(word, "value", None) for word in node.elts]
            yield from (str(word) for flag, word in pairwise(words) if flag == "-m")


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def below(package: str) -> list[str]:
    """Return the modules of a package."""
    return [module for module in MODULES if is_in(module, f"hfhooks.{package}")]


def layer(module: str) -> int:
    top = module.removeprefix("hfhooks").removeprefix(".").partition(".")[0]
    return next(number for number, names in enumerate(LAYERS) if top in names)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    package = ".".join(module.split(".")[:2])
    for imported in imports(MODULES[module]):
        if not is_in(imported, "hfhooks") or BACK.get(module) == imported:
            continue
        if (module, imported) in YET:
            continue
        if package == "hfhooks" or not is_in(imported, package):
            assert layer(imported) < layer(module), f"{module} imports {imported}"


def test_there_is_no_circle() -> None:
    """Counted by all imports, those that are made late or by name among them."""
    graph = {
        module: [name for name in imports(path) if name in MODULES and name != module]
        for module, path in MODULES.items()
    }
    seen: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module not in seen:
            for imported in graph[module]:
                visit(imported, [*way, module])
            seen.add(module)

    for module in graph:
        visit(module, [])


@pytest.mark.parametrize("library", ONLY)
def test_a_library_has_one_place(library: str) -> None:
    users = {name for name, path in MODULES.items() if library in map(_top, imports(path))}
    assert users <= set(below(ONLY[library])), users


def _top(name: str) -> str:
    return name.partition(".")[0]


def test_only_the_console_prints() -> None:
    for module, path in MODULES.items():
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        prints = [call for call in calls if ast.unparse(call.func) in ("print", "sys.stdout.write")]
        assert not prints or is_in(module, "hfhooks.console"), module


def test_nothing_writes_the_environment() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
                assert "os.environ" not in ast.unparse(node).partition("=")[0], module


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_every_public_name_is_there(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree), f"{module} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
            imported = __import__(module, fromlist=listed)
            assert all(hasattr(imported, name) for name in listed)


def test_the_tests_mirror_the_package() -> None:
    for path in (Path(__file__).parent).rglob("test_*.py"):
        below = path.relative_to(Path(__file__).parent)
        name = below.name.removeprefix("test_")
        mirrored, beside = PACKAGE / below.with_name(name), path.with_name(name)
        others = {"architecture", "documentation", "examples", "guards", "import", "scripts"}
        others |= {
            "bad_requests",
            "slow_clients",
            "canaries",
            "deliveries",
            "custom_server",
            "gradio",
            "disks",
            "everywhere",
            "journal_machine",
            "reload",
            "space",
            "standins",
            "surroundings",
        }
        assert mirrored.exists() or beside.exists() or Path(name).stem in others, below
