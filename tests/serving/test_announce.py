import os
from dataclasses import dataclass
from typing import Any, cast

import pytest

from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Happening, Note, Ready, TunnelDown, TunnelUp
from hfhooks.model.running_server import RunningServer
from hfhooks.private import servers_folder
from hfhooks.serving.announce import Announcement, Known

KNOWN = Known("127.0.0.1", 7860, "http://127.0.0.1:1234", 5.0, "sqlite:///j/journal.db", "t0ken")


@dataclass
class FakeKeeper:
    """A tunnel, as far as an announcement looks at it."""

    name: str = "ngrok"
    url: str | None = None
    is_up: bool = False


class Rig:
    def __init__(self, known: Known = KNOWN) -> None:
        self.told: list[Happening] = []
        self.changes = 0
        self.announcement = Announcement(known, self.told.append, self._changed)
        self.keeper = FakeKeeper()

    def _changed(self) -> None:
        self.changes += 1

    def tunnel(self) -> None:
        self.announcement.keeper = cast("Any", self.keeper)

    def up(self, url: str) -> None:
        self.keeper.url, self.keeper.is_up = url, True
        self.announcement.up(url)


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.announcement.endpoints = [Endpoint("train", secrets=("s3cret",)), Endpoint("open")]
    return rig


def read() -> RunningServer:
    import json

    [file] = servers_folder().iterdir()
    return RunningServer.from_json(json.loads(file.read_text()))


def test_a_server_is_ready_once_and_leaves_nothing(rig: Rig) -> None:
    with rig.announcement.made(reloads=True):
        [ready] = rig.told
        assert isinstance(ready, Ready) and ready.reloads
        assert read() == ready.server
        assert (read().pid, read().url, read().is_public) == (
            os.getpid(),
            "http://127.0.0.1:7860",
            False,
        )
        assert [each.is_closed for each in read().endpoints] == [True, False]
        assert not any(each.endpoint.secrets for each in read().endpoints)
    assert not list(servers_folder().iterdir())


def test_an_ipv6_address_is_a_url() -> None:
    assert Known("::1", 80, "", 5.0, "", "").local_url == "http://[::1]:80"
    assert Known("::", 80, "", 5.0, "", "").local_url == "http://[::1]:80"
    assert Known("0.0.0.0", 80, "", 5.0, "", "").local_url == "http://127.0.0.1:80"


def test_in_a_space_the_url_is_that_of_the_space() -> None:
    known = Known("127.0.0.1", 7860, "", 5.0, "", "", "https://me-bot.hf.space")
    assert Rig(known).announcement.url == "https://me-bot.hf.space"


def test_a_tunnel_that_comes_first_is_part_of_what_is_ready(rig: Rig) -> None:
    rig.tunnel()
    rig.up("https://me.example")
    assert rig.told == []
    with rig.announcement.made(reloads=False):
        assert (read().url, read().tunnel, read().is_up) == ("https://me.example", "ngrok", True)
        assert len(rig.told) == 1


def test_a_tunnel_that_comes_and_goes_is_told(rig: Rig) -> None:
    rig.tunnel()
    with rig.announcement.made(reloads=False):
        assert isinstance(rig.told[1], TunnelDown)
        rig.up("https://me.example")
        rig.keeper.is_up = False
        rig.announcement.down("https://me.example", "it broke")
        rig.up("https://other.example")
        _, _, first, down, second = rig.told
        assert isinstance(first, TunnelUp) and isinstance(second, TunnelUp)
        assert (first.before, first.server.url) == (None, "https://me.example")
        assert down == TunnelDown("https://me.example", "it broke")
        assert (second.before, second.server.url) == ("https://me.example", "https://other.example")
        assert read().url == "https://other.example" and rig.changes == 3


def test_where_no_file_can_be_left_the_server_runs_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with rig.announcement.made(reloads=False):
        note, ready = rig.told
    assert isinstance(note, Note) and "other commands will not find" in note.text
    assert isinstance(ready, Ready)
