"""Why a URL does not lead here."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from hfhooks.tunnels import probe
from tests.tunnels.conftest import free_port
from tests.tunnels.internet import Internet


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # http.server's name
        status = int(self.path.rpartition("/")[2])
        self.send_response(status)
        if status == 502:
            self.send_header("ngrok-error-code", "ERR_NGROK_8012")
        if status == 301:
            self.send_header("location", "https://other.test/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (204, None),
        (200, "the answer is 200"),
        (404, "another server answers there"),
        (503, "the answer is 503"),
        (502, "ngrok answers 502 (ERR_NGROK_8012)"),
        (301, "it redirects to https://other.test/"),
    ],
)
def test_an_answer_tells(url: str, status: int, why: str | None) -> None:
    assert probe.why_not(f"{url}/{status}") == why


def test_nobody_listens() -> None:
    assert probe.why_not(f"http://127.0.0.1:{free_port()}/") == "connection refused"


def test_a_name_that_is_not_known() -> None:
    assert probe.why_not("http://nowhere.invalid/") == "its name is not known (yet)"


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert probe.why_not(url) == "no answer within 0.05 seconds"


def test_no_http_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"hello\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        why = probe.why_not(f"http://127.0.0.1:{server.getsockname()[1]}/")
        assert why == "what answers there speaks no HTTP"
        thread.join()


def test_a_certificate_is_looked_at(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Internet(tmp_path) as internet:
        internet.places["hooks.test"] = lambda: url
        for name, value in internet.env.items():
            monkeypatch.setenv(name, value)
        assert probe.why_not("https://hooks.test/204") is None
        monkeypatch.delenv("SSL_CERT_FILE")
        why = probe.why_not("https://hooks.test/204")
        assert why and why.startswith("its certificate is not accepted: ")
