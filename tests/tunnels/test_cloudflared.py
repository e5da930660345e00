"""Quick tunnels: a program that says what cloudflared says, at a name with a certificate."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import Server, payload_bytes, post, run_command, wait_until
from tests.tunnels.conftest import SECRETS, install
from tests.tunnels.internet import Internet

PULL = payload_bytes("pr_create_v3_docs")
NAME = "plain-words-stand-in.trycloudflare.com"
Start = Callable[..., Server]


class Cloudflared:
    """The program, as it will be found and run."""

    def __init__(self, folder: Path, internet: Internet) -> None:
        self.program = install("cloudflared", folder / "bin")
        self._folder = folder
        self._internet = internet
        internet.places[NAME] = lambda: str(self.state["edge"])

    def env(self, scenario: str = "ok") -> dict[str, str]:
        return self._internet.env | {
            "PATH": f"{self.program.parent}:{os.environ['PATH']}",
            "FAKE_CLOUDFLARED_SCENARIO": scenario,
            "FAKE_CLOUDFLARED_STATE": str(self._folder / "state.json"),
            "FAKE_CLOUDFLARED_DIE": str(self._folder / "die"),
        }

    @property
    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self._folder / "state.json").read_text())
        return content

    def die(self) -> None:
        (self._folder / "die").touch()

    def revive(self) -> None:
        (self._folder / "die").unlink()


@pytest.fixture
def cloudflared(tmp_path: Path) -> Iterator[Cloudflared]:
    with Internet(tmp_path) as internet:
        yield Cloudflared(tmp_path, internet)


def test_a_delivery_comes_through(start: Start, app: Path, cloudflared: Cloudflared) -> None:
    server = start(app, "--tunnel", "cloudflared", env=cloudflared.env("floods"))
    assert (server.ready["tunnel"], server.ready["url"]) == ("cloudflared", f"https://{NAME}")
    answer = post(f"{cloudflared.state['edge']}/webhooks/echo", PULL)
    assert (answer.status, answer.json()) == (200, {"repo": "openai-community/gpt2"})
    assert run_command("print-urls").stdout == f"https://{NAME}/webhooks/echo\n"
    pid = cloudflared.state["pid"]
    assert server.stop(signal.SIGINT) == 130
    assert not psutil.pid_exists(pid)


def test_it_knows_no_secret_of_ours(start: Start, app: Path, cloudflared: Cloudflared) -> None:
    server = start(app, "--tunnel", "cloudflared", env=cloudflared.env() | SECRETS)
    assert server.ready["url"] == f"https://{NAME}"
    assert "PATH" in cloudflared.state["environment"]
    assert not SECRETS.keys() & {*cloudflared.state["environment"]}


def test_one_that_dies_is_started_again(start: Start, app: Path, cloudflared: Cloudflared) -> None:
    server = start(app, "--tunnel", "cloudflared", env=cloudflared.env("dies"))
    assert server.ready
    cloudflared.die()
    wait_until(lambda: len(server.lines) > 1, timeout=20)
    cloudflared.revive()
    wait_until(lambda: "Unauthorized: Tunnel not found" in server.stderr)
    wait_until(lambda: server.events[-1]["type"] == "tunnel" and server.events[-1]["state"] == "up")


@pytest.mark.parametrize(
    ("scenario", "words"),
    [("failed", "api.trycloudflare.com: no such host"), ("rate_limited", "unmarshal quick Tunnel")],
)
def test_a_failure_is_told_in_its_own_words(
    app: Path, cloudflared: Cloudflared, scenario: str, words: str
) -> None:
    arguments = ("serve", str(app), "--port", "0", "--tunnel", "cloudflared", "--json")
    found = run_command(*arguments, env=cloudflared.env(scenario))
    assert (found.returncode, found.stdout) == (5, "")
    assert found.stderr.startswith("error: cloudflared has ended: ")
    assert words in found.stderr


def test_a_program_that_is_not_there(app: Path) -> None:
    env = {"PATH": "/usr/bin:/bin"}
    found = run_command("serve", str(app), "--tunnel", "cloudflared", env=env)
    assert found.returncode == 5
    assert found.stderr.startswith("error: the program cloudflared is not installed.\nhelp: Get it")
