"""What the documentation shows is true."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfhooks.model.events import ACTIONS
from hfhooks.model.samples import sample
from hfhooks.settings import FIELDS
from tests.harness import EXAMPLES, post, run_command, wait_until

ROOT = EXAMPLES.parent
COMMANDS = ["init", "serve", "trigger", "replay", "explain", "print-urls", "deliveries", "doctor"]
COMMANDS += [f"deliveries {name}" for name in ("show", "export", "retry", "cancel", "prune")]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture
def readme_server(start: Callable[..., Any], tmp_path: Path) -> Any:
    """The README's first script, served as text on a free port."""
    script = tmp_path / "app.py"
    script.write_text(blocks("python")[0])
    return start(script, as_json=False)


def local_url(server: Any) -> str:
    wait_until(lambda: "Press Ctrl-C" in server.stderr, timeout=30)
    found = re.search(r"http://127\.0\.0\.1:\d+", server.stderr)
    assert found
    return found[0]


def test_the_first_page_is_what_a_reader_sees(readme_server: Any) -> None:
    url = local_url(readme_server)
    shown = readme_server.said.replace(url, "http://127.0.0.1:7860")
    assert shown == blocks("text")[0]


def test_from_an_empty_folder_to_a_handled_event(start: Callable[..., Any], tmp_path: Path) -> None:
    commands = [shlex.split(line, comments=True)[1:] for line in blocks("sh")[0].splitlines()]
    init, serve, trigger = commands
    assert run_command(*init, cwd=tmp_path).returncode == 0
    assert serve == ["serve"]
    server = start(cwd=tmp_path)
    assert server.ready
    assert run_command(*trigger).returncode == 0
    wait_until(lambda: [line["status"] for line in server.deliveries] == ["succeeded"])


FALLIBLE = """

@webhook_endpoint(on="discussion")
def answer(payload: WebhookPayload):
    import json
    from pathlib import Path

    flag = Path(__file__).with_name("flag")
    text = "{}" if flag.exists() else ""
    flag.touch()
    reply = json.loads(text)
    return reply
"""


def test_each_delivery_is_a_line_as_shown(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(blocks("python")[0] + FALLIBLE)
    server = start(tmp_path / "app.py", as_json=False)
    url = f"{local_url(server)}/webhooks"

    def tell(name: str, event: str, repo: str, shown: str, **headers: str) -> None:
        post(f"{url}/{name}", sample(event, repo), **headers)
        wait_until(lambda: shown in server.stderr)

    tell("retrain", "repo.content:update", "dataset:me/data", "#1", webhook_id="w1")
    tell("answer", "discussion:create", "model:me/bot", "attempt 2")
    tell("retrain", "repo:create", "model:me/new", "#3")
    assert run_command("replay", "1").returncode == 0
    wait_until(lambda: "#4" in server.stderr)
    tell("retrain", "repo.content:update", "dataset:me/data", "a duplicate", webhook_id="w1")
    shown = [line for line in server.said.splitlines() if re.match(r"\d\d:|    ", line)]
    assert masked("\n".join(shown)) == masked(blocks("log")[0])


def masked(log: str) -> list[str]:
    """Return lines without what is different each time."""
    for changing in (r"^\d\d:\d\d:\d\d", r"\d+ ms", r"in \d+ s", r'".*app.py", line \d+'):
        log = re.sub(changing, "_", log, flags=re.MULTILINE)
    return log.splitlines()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_first_event_is_answered_as_shown(readme_server: Any) -> None:
    curl = blocks("sh")[1].replace("http://127.0.0.1:7860", local_url(readme_server))
    found = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert found.stdout + "\n" == blocks("json")[0]


def test_the_readers_own_test_passes(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(blocks("python")[0])
    (tmp_path / "test_app.py").write_text(blocks("py")[0])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed" in found.stdout, found.stdout


@pytest.mark.parametrize("text", blocks("python"))
def test_every_script_is_served(start: Callable[..., Any], tmp_path: Path, text: str) -> None:
    name = re.match(r"# (\S+\.py)\n", text)
    assert name
    (tmp_path / name[1]).write_text(text)
    assert start(tmp_path / name[1]).ready["endpoints"]


def test_the_json_lines_have_the_shape_shown(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(blocks("python")[0])
    server = start(tmp_path / "app.py", "--reload")
    body = re.search(r"\{.*\}", blocks("sh")[1], re.DOTALL)
    assert body
    assert server.post("retrain", body[0].encode()).status == 200
    wait_until(lambda: server.deliveries)
    for text, number in ((blocks("python")[0] + "\n", 3), ("\n" * 11 + "def retrain(payload:", 4)):
        (tmp_path / "app.py").write_text(text)
        wait_until(lambda: len(server.events) == number)  # noqa: B023 # it is awaited here
    server.stop()
    documented = [json.loads(line) for line in blocks("json")[1].splitlines()]
    for shown, real in zip(documented, server.events, strict=True):
        assert list(shown) == list(real)
        changing = ("url", "local_url", "inspector_url", "endpoints", "duration_ms", "file")
        assert {k: v for k, v in shown.items() if k not in changing} == {
            k: v for k, v in real.items() if k not in changing
        }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    assert f"`hfhooks {command}" in README
    options = set(
        re.findall(r"^ +(--[a-z-]+)", run_command(*command.split(), "--help").stdout, re.MULTILINE)
    )
    assert options and not [option for option in options if f"{option}" not in README]


IN_WORDS = {"reload": "at a terminal", "state_dir": "the user's state folder", "watch": "| |"}
IN_WORDS |= {"journal": "one of this script's own, in the state folder"}
IN_WORDS |= {"max_body": "4MiB", "verbose": "off"}
IN_WORDS |= dict.fromkeys(("domain", "ssh_host", "public_url"), "| |")
"""Defaults that are no values."""


def test_every_setting_is_documented_with_its_default() -> None:
    for name, field in FIELDS.items():
        row = next(line for line in README.splitlines() if f"`HFHOOKS_{name.upper()}`" in line)
        assert f"`--{name.replace('_', '-')}`" in row and f"`{name}`" in row
        default = IN_WORDS.get(name, str(field.default).removesuffix(".0"))
        assert default in row


def test_help_has_the_default_and_the_variable_of_every_setting() -> None:
    help = " ".join(run_command("serve", "--help").stdout.split())
    for name, field in FIELDS.items():
        default = IN_WORDS.get(name, str(field.default).removesuffix(".0"))
        known = "" if default == "| |" else f"default: .*{re.escape(default)}.*; "
        option = f"--{name.replace('_', '-')} [^\\[]*\\[{known}env: HFHOOKS_{name.upper()}\\]"
        assert re.search(option, help), option


def test_the_lines_of_a_tunnel_are_json() -> None:
    lines = [json.loads(line) for line in blocks("json")[2].splitlines()]
    assert [(line["type"], line["state"]) for line in lines] == [
        ("tunnel", "down"),
        ("tunnel", "up"),
    ]


def test_every_scope_is_documented() -> None:
    assert all(f"`{scope}`" in README for scope in ACTIONS)


def test_every_example_is_documented() -> None:
    assert not [
        path.name for path in EXAMPLES.glob("*.py") if f"examples/{path.name})" not in README
    ]


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_every_part_is_in_the_layout() -> None:
    layout = (ROOT / "CONTRIBUTING.md").read_text()
    for path in (ROOT / "hfhooks").iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert re.search(rf"\b{path.name}/ ", layout), path.name
        elif path.suffix == ".py" and not path.name.startswith("__"):
            assert f"`{path.stem}`" in layout, path.name


def test_the_path_of_a_delivery_leads_through_files_and_functions_that_are_there() -> None:
    layout = (ROOT / "CONTRIBUTING.md").read_text()
    table = layout.partition("### The path of a delivery")[2].partition("\n\nWhat happens")[0]
    code = "".join(path.read_text() for path in (ROOT / "hfhooks").rglob("*.py"))
    for name in re.findall(r"`([\w/.]+)`", table):
        *owner, last = name.split(".")
        is_there = [*(ROOT / "hfhooks").rglob(f"{name}.py")] or re.search(
            rf"\b(def|class) {last}\b", code
        )
        assert is_there and all(f"class {word}" in code for word in owner), name


def test_the_tests_that_can_be_run_alone_are_there() -> None:
    for path, name in re.findall(r"(tests/\S+\.py)::(\w+)", (ROOT / "CONTRIBUTING.md").read_text()):
        assert f"def {name}(" in (ROOT / path).read_text()
