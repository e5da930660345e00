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
    ["errors", "mounts", "redact", "version"],
    ["private", "secret", "tasks", "tracebacks"],
    ["processes"],
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
ONLY: dict[str, str] = {
    "gradio": "nowhere",
    "huggingface_hub": "hub",
    "prometheus_client": "inspector.metrics",
    "pyngrok": "tunnels.ngrok",
    "sqlite3": "journal.sqlite",
}
"""Where a library may be used that must have one place."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOOR = "hfhooks.journal"
"""Who comes to it goes no further: engines are behind it."""
ENGINES = ("hfhooks.journal.memory", "hfhooks.journal.sqlite", "sqlite3")
FASTAPI = ("fastapi", "starlette", "uvicorn")
NEVER: dict[str, tuple[str, ...]] = {
    "model": ("asyncio", "socket", "subprocess", "time", "fastapi", "hfhooks.tasks"),
    "http": ("hfhooks.journal", "hfhooks.model.endpoint", "hfhooks.model.delivery", *FASTAPI),
    "journal": ("hfhooks.http", "hfhooks.script", "hfhooks.settings", "socket", *FASTAPI),
    "script": ("hfhooks.http", "hfhooks.journal", "hfhooks.settings", "asyncio", "socket"),
    "dispatch": ("hfhooks.gateway", "hfhooks.http", "hfhooks.worker", *ENGINES, *FASTAPI),
    "worker": ("hfhooks.gateway", "hfhooks.journal", "hfhooks.dispatch", "sqlite3"),
    "gateway": ("hfhooks.dispatch", "hfhooks.script", "hfhooks.worker", *ENGINES, *FASTAPI),
    "supervisor": ("hfhooks.gateway", "hfhooks.journal", "hfhooks.dispatch", *FASTAPI),
    "inspector": ("hfhooks.dispatch", "hfhooks.gateway", "hfhooks.worker", *ENGINES, *FASTAPI),
    "tunnels": ("hfhooks.gateway", "hfhooks.http", "hfhooks.journal", "hfhooks.script"),
    "console": ("hfhooks.journal", "hfhooks.http", "hfhooks.script", "asyncio", *FASTAPI),
    "cli": ("hfhooks.dispatch", "hfhooks.gateway", "hfhooks.worker", *ENGINES, *FASTAPI),
}
"""What a package neither imports nor reaches; a command does not import it."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the modules that a file imports: at once, later, by name, or for type checkers."""
    return frozenset(_imports(parsed(path)))


def _imports(tree: ast.Module) -> Iterator[str]:
    ours = set(_processes(tree))
    for node in ast.walk(tree):
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
        if package == "hfhooks" or not is_in(imported, package):
            assert layer(imported) < layer(module), f"{module} imports {imported}"


def reached(package: str) -> set[str]:
    """Return what a package imports, and what that imports, up to the journal's door."""
    seen: set[str] = set()
    to_see = below(package)
    while to_see:
        module = to_see.pop()
        for imported in imports(MODULES[module]) - seen if module in MODULES else ():
            is_behind = module == DOOR and is_in(imported, DOOR)
            if not is_behind and BACK.get(module) != imported:
                seen.add(imported)
                to_see.append(imported)
    return seen


@pytest.mark.parametrize("package", NEVER)
def test_what_must_not_meet_never_does(package: str) -> None:
    imported = {name for module in below(package) for name in imports(MODULES[module])}
    for name in imported if package == "cli" else reached(package):
        assert not any(is_in(name, never) for never in NEVER[package]), name


def test_there_is_no_circle() -> None:
    """Counted by all imports, those that are made late, by name or for checkers among them."""
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
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        prints = [call for call in calls if ast.unparse(call.func) in ("print", "sys.stdout.write")]
        assert not prints or is_in(module, "hfhooks.console"), module


def test_nothing_writes_the_environment() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
                assert "os.environ" not in ast.unparse(node).partition("=")[0], module


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_every_public_name_is_there(module: str) -> None:
    tree = parsed(MODULES[module])
    assert ast.get_docstring(tree), f"{module} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
            imported = __import__(module, fromlist=listed)
            assert all(hasattr(imported, name) for name in listed)


SUBJECTS = {
    "architecture",
    "bad_requests",
    "canaries",
    "contract",
    "core",
    "custom_server",
    "disks",
    "docstrings",
    "documentation",
    "everywhere",
    "examples",
    "faults",
    "full_journal",
    "gradio",
    "others_go_on",
    "strangers_pages",
    "parser_oracle",
    "guards",
    "import",
    "journal_files",
    "machine",
    "reload",
    "scripts",
    "slow_clients",
    "space",
    "standins",
    "surroundings",
    "unread",
}
"""What tests are about that is no module."""


def test_the_tests_mirror_the_package() -> None:
    tests = Path(__file__).parent
    for path in tests.rglob("test_*.py"):
        below = path.relative_to(tests)
        name = below.name.removeprefix("test_")
        module, package = PACKAGE / below.with_name(name), PACKAGE / below.with_name(name[:-3])
        is_mirrored = module.exists() or package.is_dir() or path.with_name(name).exists()
        assert is_mirrored or name[:-3] in SUBJECTS, below


def test_the_top_level_has_few_files() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 13


@pytest.mark.parametrize("module", MODULES)
def test_what_is_long_is_parted(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 350
    for node in ast.walk(parsed(MODULES[module])):
        if isinstance(node, ast.ClassDef):
            defined = [each for each in node.body if isinstance(each, FUNCTIONS)]
            assert len(defined) <= 15, node.name
