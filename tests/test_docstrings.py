"""What docstrings show is true."""

import ast
import doctest
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import hfhooks.testing
from hfhooks import WebhookPayload, webhook_endpoint
from hfhooks.script.registry import Registry

PACKAGE = Path(__file__).parents[1] / "hfhooks"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "starters"]


def docstrings(file: Path) -> Iterator[str]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, owners) and (text := ast.get_docstring(node)):
            yield text


def examples(text: str) -> Iterator[str]:
    """Yield the blocks of a docstring that are set in, as code is."""
    block: list[str] = []
    for line in [*text.splitlines(), "."]:
        if line.startswith("    ") or (block and not line):
            block.append(line)
        elif block:
            yield dedent("\n".join(block))
            block = []


def test_what_is_typed_at_a_prompt_is_answered_as_shown() -> None:
    shown = [file for file in FILES if any(">>>" in text for text in docstrings(file))]
    for file in shown:
        name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = import_module(name.removesuffix(".__init__"))
        assert doctest.testmod(module).failed == 0


def test_what_is_set_in_is_python() -> None:
    blocks = [block for file in FILES for text in docstrings(file) for block in examples(text)]
    assert blocks
    for block in blocks:
        if ">>>" not in block:
            ast.parse(block)


def test_the_readers_own_test_passes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    @webhook_endpoint
    def train(payload: WebhookPayload) -> dict[str, str]:
        return {"training": payload.repo.name}

    app = ModuleType("app")
    vars(app)["train"] = train
    monkeypatch.setitem(sys.modules, "app", app)
    [example] = examples(hfhooks.testing.__doc__ or "")
    shown: dict[str, object] = {}
    exec(example, shown)
    [test] = [each for name, each in shown.items() if name.startswith("test_")]
    assert callable(test)
    test()
