"""The layout shows the architecture, and this keeps it true."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hfhooks"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "starters"  # these are texts for their readers
}
LAYERS = [
    [
        "hfhooks",
        "hfhooks.delivery",
        "hfhooks.errors",
        "hfhooks.events",
        "hfhooks.exported",
        "hfhooks.frames",
        "hfhooks.handover",
        "hfhooks.keyboard",
        "hfhooks.payload",
        "hfhooks.redact",
        "hfhooks.wire",
    ],
    [
        "hfhooks.endpoints",
        "hfhooks.loop",
        "hfhooks.secret",
        "hfhooks.settings",
        "hfhooks.state",
        "hfhooks.terminal",
    ],
    ["hfhooks.samples", "hfhooks.sender", "hfhooks.server"],
    ["hfhooks.payload_files"],
    ["hfhooks.hub", "hfhooks.worker", "hfhooks.gateway", "hfhooks.console", "hfhooks.tunnels"],
    ["hfhooks.child", "hfhooks.inspector", "hfhooks.watcher"],
    ["hfhooks.keys", "hfhooks.offline", "hfhooks.supervisor"],
    ["hfhooks.serving"],
    ["hfhooks.notebook", "hfhooks.asgi", "hfhooks.testing"],
    ["hfhooks.commands"],
    ["hfhooks.cli"],
    ["hfhooks.__main__"],
]
"""From the bottom to the top: a module imports from its own package and from layers below."""
ONLY: dict[str, set[str]] = {
    "gradio": set(),
    "huggingface_hub": {"hfhooks.hub.account"},
    "prometheus_client": {"hfhooks.inspector.metrics"},
    "pyngrok": {"hfhooks.tunnels.ngrok"},
    "sqlite3": {f"hfhooks.gateway.{name}" for name in ("database", "journal", "records", "sqlite")},
}
"""Which modules may use a library that must have one place."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> list[str]:
    """Return the modules that a file imports when it runs."""
    return [*imports_of(parsed(path))]


def imports_of(tree: ast.Module) -> Iterator[str]:
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)


def layer(module: str) -> int:
    name = module.removesuffix(".__init__")
    for number, names in enumerate(LAYERS):
        if any(
            name == known or name.startswith(f"{known}.") for known in names if known != "hfhooks"
        ):
            return number
    assert name == "hfhooks", f"{name} stands in no layer"
    return 0


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    package = ".".join(module.split(".")[:2])
    for imported in imports(MODULES[module]):
        if is_in(imported, "hfhooks") and not is_in(imported, package):
            assert layer(imported) < layer(module), f"{module} imports {imported}"


def test_the_gateway_knows_neither_worker_nor_fastapi() -> None:
    for module, path in MODULES.items():
        if is_in(module, "hfhooks.gateway"):
            for imported in imports(path):
                assert not is_in(imported, "hfhooks.worker"), module
                assert not is_in(imported, "fastapi") and not is_in(imported, "starlette"), module


def test_the_worker_knows_no_gateway() -> None:
    for module, path in MODULES.items():
        if is_in(module, "hfhooks.worker"):
            assert not any(is_in(name, "hfhooks.gateway") for name in imports(path)), module


@pytest.mark.parametrize("library", ONLY)
def test_a_library_has_one_place(library: str) -> None:
    users = {name for name, path in MODULES.items() if library in map(_top, imports(path))}
    assert users == ONLY[library]


def _top(name: str) -> str:
    return name.partition(".")[0]


def test_only_the_console_prints() -> None:
    for module, path in MODULES.items():
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        prints = [call for call in calls if ast.unparse(call.func) in ("print", "sys.stdout.write")]
        assert not prints or module == "hfhooks.console", module


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
