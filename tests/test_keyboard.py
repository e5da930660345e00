"""A terminal of its own, with a server in it that a person attends."""

import fcntl
import os
import re
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import COMMAND, Terminal, payload_bytes, post, run_command, wait_until

Script = Callable[..., Path]

PULL = payload_bytes("pr_create_v3_docs")
TEXT = """
from hfhooks import webhook_endpoint

@webhook_endpoint(on="discussion")
def talk(payload):
    return payload.repo.name
"""


class Attended(Terminal):
    """`hfhooks serve` at a terminal."""

    def __init__(self, *arguments: str, shell: str | None = None) -> None:
        environment = {name: os.environ[name] for name in os.environ if name != "FORCE_COLOR"}
        command = ["/bin/sh", "-c", shell] if shell else [*COMMAND, "serve", *arguments]
        super().__init__(command, env=environment)

    @property
    def shows_keys(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def url(self) -> str:
        self.wait_for("Press Ctrl-C")
        found = re.search(r"http://127\.0\.0\.1:\d+/webhooks/talk", self.shown)
        assert found, self.shown
        return found[0]


@pytest.fixture
def attend(script: Script) -> Iterator[Callable[..., Attended]]:
    started: list[Attended] = []
    path = script(TEXT)

    def attend(*arguments: str) -> Attended:
        started.append(Attended(str(path), "--port", "0", *arguments))
        return started[-1]

    yield attend
    for each in started:
        each.close()


def test_q_stops_with_success_and_leaves_the_terminal_as_it_was(attend: Any) -> None:
    server = attend()
    assert "h for other keys" in server.wait_for("Press Ctrl-C")
    wait_until(lambda: not server.shows_keys)
    server.press("q")
    server.wait_for("Stopped.")
    assert server.ended() == 0
    assert server.shows_keys


def test_ctrl_c_stays_what_it_is(attend: Any) -> None:
    server = attend()
    server.url()
    server.press("\x03")
    server.wait_for("Stopped.")
    assert server.ended() == 130
    assert server.shows_keys


def test_r_replays_the_last_delivery(attend: Any) -> None:
    server = attend()
    url = server.url()
    post(url, PULL)
    server.wait_for("#1")
    server.press("r")
    shown = server.wait_for("#2")
    assert re.search(r"200.*talk  discussion:create .* replay  #2", shown)


def test_r_without_a_delivery_says_what_to_do(attend: Any) -> None:
    server = attend()
    server.url()
    server.press("R")
    shown = server.wait_for("help: ")
    assert "no delivery has come yet." in shown
    assert "To send one: hfhooks trigger EVENT" in shown


def test_h_shows_the_keys_and_enter_an_empty_line(attend: Any) -> None:
    server = attend()
    server.url()
    server.press("h")
    shown = server.wait_for("leave an empty line")
    assert all(f"\n  {key}  " in shown for key in "rohq")
    server.press("\r")
    server.wait_for("leave an empty line\r\n\r\n")


def test_o_says_where_the_inspector_is_where_no_browser_can_be_opened(
    attend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    server = attend()
    server.url()
    server.press("o")
    assert re.search(r"inspector is at http://127\.0\.0\.1:\d+", server.wait_for("inspector is"))


def test_o_opens_the_browser_that_is_wanted(
    attend: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    server = attend()
    server.url()
    server.press("o")
    opened = tmp_path / "opened"
    wait_until(lambda: opened.exists() and opened.read_text().startswith("http://127.0.0.1:"))


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="needs /proc")
def test_no_other_is_made_non_blocking(attend: Any) -> None:
    server = attend()
    server.url()
    wait_until(lambda: not server.shows_keys)
    for number in (0, 1, 2):
        assert not fcntl.fcntl(server.fd, fcntl.F_GETFL) & os.O_NONBLOCK
        info = Path(f"/proc/{server.pid}/fdinfo/{number}").read_text()
        flags = int(re.search(r"flags:\s+(\d+)", info)[1], 8)  # type: ignore[index] # it is there
        assert not flags & os.O_NONBLOCK


def test_whatever_ends_it_leaves_the_terminal_as_it_was(attend: Any) -> None:
    server = attend()
    server.url()
    wait_until(lambda: not server.shows_keys)
    server.press("\x1c")  # Ctrl-\\
    assert server.ended() == -signal.SIGQUIT
    assert server.shows_keys


def test_what_is_pasted_presses_no_key(attend: Any) -> None:
    server = attend()
    server.url()
    server.press("quit quickly")

    def helps() -> bool:
        server.press("h")  # which may be taken for a part of what is pasted
        return "leave an empty line" in server.read()

    wait_until(helps)
    assert "Stopped." not in server.read()


def test_json_lines_are_for_programs_and_take_no_keys(attend: Any) -> None:
    server = attend("--json")
    server.wait_for('"type": "ready"')
    assert server.shows_keys


def test_the_background_takes_no_keys_until_it_is_the_foreground(script: Script) -> None:
    """A shell with job control, as a person has it."""
    path = script(TEXT)
    command = " ".join([*COMMAND, "serve", str(path), "--port", "0"])
    server = Attended(shell=f"set -m; {command} & sleep 2; read line; echo got $line; fg")
    try:
        server.wait_for("Press Ctrl-C")
        server.press("hallo\r")
        server.wait_for("got hallo")
        server.wait_for("serve")
        wait_until(lambda: not server.shows_keys)
        server.press("h")
        server.wait_for("leave an empty line")
        server.press("q")
        server.wait_for("Stopped.")
    finally:
        server.close()


def test_a_second_ctrl_c_leaves_the_terminal_as_it_was(
    attend: Any, script: Script, tmp_path: Path
) -> None:
    begin = f"open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(60); return"
    script("import time\n" + TEXT.replace("return", begin))
    server = attend("--wait", "0", "--no-reload")
    post(server.url(), PULL)
    wait_until((tmp_path / "begun").exists)
    server.press("\x03")
    server.wait_for("Ctrl-C again stops at once.")
    threading.Event().wait(0.6)  # what comes sooner is the same signal
    server.press("\x03")
    assert server.ended() == 130
    assert server.shows_keys


def test_a_pipe_has_no_keys() -> None:
    assert "h for other keys" not in run_command("serve", "nope.py").stderr
