import dataclasses
import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.model import views
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.events import Filter
from hfhooks.model.running_server import RunningServer
from hfhooks.model.sending import Request
from hfhooks.private import state_folder
from hfhooks.serving.announce import announced
from hfhooks.serving.owner import change, find_server, post, send


class Health(BaseHTTPRequestHandler):
    """Answers /healthz as a server does: the owner learns the process."""

    def do_GET(self) -> None:  # http.server's name
        is_owner = self.headers["hfhooks-token"] == "t0ken"
        body = json.dumps({"status": "ready"} | ({"pid": os.getpid()} if is_owner else {}))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A server that runs, or at least answers as one."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield described(http.server_address[1])
    http.shutdown()
    thread.join()
    http.server_close()


def described(port: int) -> RunningServer:
    return RunningServer(
        pid=os.getpid(),
        host="127.0.0.1",
        port=port,
        url="https://me.example",
        local_url=f"http://127.0.0.1:{port}",
        inspector_url=None,
        tunnel=None,
        is_up=True,
        endpoints=[Published(Endpoint("train", Filter(("repo",))), "script")],
        wait=5.0,
        journal="sqlite:///j/journal.db",
        token="t0ken",
    )


def files() -> list[Path]:
    return sorted((state_folder() / "servers").iterdir())


def test_a_server_is_found_while_it_runs(server: RunningServer) -> None:
    with announced(server):
        assert find_server() == find_server(server.port) == server
    with pytest.raises(StartError, match="no server is running"):
        find_server()
    assert files() == []


def test_its_file_is_the_users_alone(server: RunningServer) -> None:
    with announced(server):
        [file] = files()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_no_server_says_how_to_start_one() -> None:
    with pytest.raises(StartError, match="no server is running on port 7860") as caught:
        find_server(7860)
    assert caught.value.exit_code == 3
    assert "hfhooks serve" in str(caught.value.help)


def test_a_file_left_by_a_killed_server_is_no_server(server: RunningServer) -> None:
    with announced(described(1)), pytest.raises(StartError):  # nobody listens at port 1
        find_server()


def test_another_program_at_that_port_is_no_server(server: RunningServer) -> None:
    for other in ({"token": "other"}, {"pid": 1}):
        with announced(dataclasses.replace(server, **other)), pytest.raises(StartError):
            find_server()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}'])
def test_a_file_that_says_nothing_is_no_server(server: RunningServer, content: str) -> None:
    with announced(server):
        files()[0].with_name("1-1.json").write_text(content)
        assert find_server() == server


def test_of_several_servers_one_must_be_chosen(server: RunningServer) -> None:
    other = dataclasses.replace(server, port=server.port)
    with announced(server):
        file = files()[0]
        file.with_name("9-1.json").write_text(file.read_text())
        with pytest.raises(UsageError, match="several servers run, on ports") as caught:
            find_server()
        assert "--port" in str(caught.value.help)
        assert find_server(server.port) == other
        file.with_name("9-1.json").unlink()


def test_what_anybody_may_know_has_no_token(server: RunningServer) -> None:
    assert "t0ken" not in json.dumps(views.server(server))


@pytest.mark.parametrize(
    "content",
    [
        {"host": 5},
        {"token": None},
        {"endpoints": None},
        {"endpoints": [{"name": "train"}]},
        {"endpoints": [{"endpoint": {}, "secrets_of": "nobody"}]},
        {"port": "7860"},
        "[" * 100_000,
        "null",
    ],
)
def test_a_file_that_says_nonsense_is_passed_over(
    server: RunningServer, content: dict[str, Any] | str
) -> None:
    with announced(server):
        odd = files()[0].with_name("9-1.json")
        if isinstance(content, dict):
            content = json.dumps(server.as_json() | content)
        odd.write_text(content)
        os.mkfifo(odd.with_name("8-1.json"))
        assert find_server() == server


def test_two_servers_on_one_port_of_two_addresses_have_files_of_their_own(
    server: RunningServer,
) -> None:
    with ExitStack() as other, announced(server):
        other.enter_context(announced(dataclasses.replace(server, pid=server.pid + 1)))
        assert len(files()) == 2
        other.close()
        assert find_server() == server


def test_what_killed_servers_left_is_swept_away(server: RunningServer) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with ExitStack() as never_closed:
        never_closed.enter_context(announced(dataclasses.replace(server, pid=process.pid)))
        [left] = files()
        with announced(server):
            assert not left.exists()
            assert find_server() == server


def test_the_token_is_not_shown_by_accident() -> None:
    assert "t0ken" not in repr(described(7860))


def test_who_does_not_answer_is_no_server_that_could_be_asked(server: RunningServer) -> None:
    gone = dataclasses.replace(server, port=1, local_url="http://127.0.0.1:1")
    with pytest.raises(StartError, match="the server on port 1 did not answer"):
        send(gone, Request("/webhooks/train", b"{}"))


@pytest.mark.parametrize(
    "request_",
    [
        Request("/webhooks/train?a=\n", b"{}"),
        Request("/webhooks/train", b"{}", {"x": "a\r\nb: c"}),
        Request("/webhooks/train", b"{}", {"x": "\u2603"}),
    ],
)
def test_what_no_request_can_hold_is_said(server: RunningServer, request_: Request) -> None:
    with pytest.raises(UsageError, match="that cannot be sent"):
        send(server, request_)


def test_what_is_refused_is_said(server: RunningServer) -> None:
    inspected = dataclasses.replace(server, inspector_url=server.local_url)
    with pytest.raises(HfhooksError, match="refused: 501"):
        change(inspected, "/deliveries/retry")


@pytest.mark.parametrize("url", ["train", "ftp://x/", "http://", "http://[/", "http://x:y/"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(UsageError, match="is no URL"):
        post(url, Request(url, b"{}"))


def test_another_machine_must_be_meant() -> None:
    with pytest.raises(UsageError, match="is on another machine") as caught:
        post("http://huggingface.co/x", Request("", b"{}"))
    assert "--allow-remote" in str(caught.value.help)
