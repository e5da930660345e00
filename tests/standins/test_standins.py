"""The stand-ins for tunnels: ngrok's driven by the real pyngrok, cloudflared's as a program."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pyngrok import agent as pyngrok_agent
from pyngrok import ngrok, process
from pyngrok.conf import PyngrokConfig
from pyngrok.exception import PyngrokNgrokError, PyngrokNgrokHTTPError
from pyngrok.ngrok import NgrokTunnel

from tests.harness import post, request, wait_until

HERE = Path(__file__).parent
NGROK = HERE / "ngrok.py"
CLOUDFLARED = HERE / "cloudflared.py"
PUBLIC_URL = "https://plain-words-stand-in.trycloudflare.com"


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def reply(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0)).decode()
        seen = {"method": self.command, "path": self.path, "body": body}
        encoded = json.dumps(seen | {"headers": self.headers.items()}).encode()
        self.send_response(201)
        self.send_header("x-answer", "yes")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    do_GET = do_POST = reply  # noqa: N815 # http.server's names

    def log_message(self, *_: object) -> None: ...


class Upstream(ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def upstream() -> Iterator[str]:
    """A real server, which answers with what it got."""
    with Upstream(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def fast_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


class Ngrok:
    """pyngrok with the stand-in, and what the stand-in says about itself."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state_path = folder / "state.json"
        self.config_path = folder / "ngrok.yml"
        self.setenv = monkeypatch.setenv
        self.setenv("FAKE_NGROK_STATE", str(self.state_path))
        self.configure('version: "3"\nagent:\n  web_addr: 127.0.0.1:0\n')
        self.pyngrok_config = PyngrokConfig(
            str(NGROK), str(self.config_path), auth_token="a-token", startup_timeout=30
        )

    def configure(self, text: str) -> None:
        self.config_path.write_text(text)

    def connect(self, upstream: str, **options: Any) -> NgrokTunnel:
        return ngrok.connect(upstream, pyngrok_config=self.pyngrok_config, **options)

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.state_path.read_text())
        return state

    @property
    def api(self) -> str:
        return f"http://{self.state['api_address']}"

    def connect_until(self, condition: Callable[[], object]) -> None:
        """Connect, and end the agent, which keeps pyngrok waiting, when the condition is true."""
        with ThreadPoolExecutor(1) as pool:
            connecting = pool.submit(self.connect, "http://127.0.0.1:1")
            try:
                wait_until(condition)
                assert not connecting.done()
            finally:
                self.process.proc.kill()
            connecting.result(timeout=10)

    def lines(self, text: str) -> list[str]:
        """Return the agent's log lines with this text in them."""
        running = process._current_processes.get(str(NGROK))
        return [line.line for line in running.logs if text in line.line] if running else []

    @property
    def process(self) -> process.NgrokProcess:
        return process._current_processes[str(NGROK)]

    def tell(self, what: str) -> None:
        assert request("POST", f"{self.api}/stand-in/{what}").status == 200

    def stop(self) -> None:
        running = process._current_processes.get(str(NGROK))
        if running and running.proc.stdout:
            running.proc.kill()
            running.proc.wait()
            wait_until(lambda: running._monitor_thread is None)
            running.proc.stdout.close()
        ngrok.kill(self.pyngrok_config)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ngrok]:
    agent = Ngrok(tmp_path, monkeypatch)
    yield agent
    agent.stop()


def refuses(url: str) -> bool:
    try:
        request("GET", url)
    except ConnectionRefusedError:
        return True
    return False


def test_a_request_comes_through_whole(agent: Ngrok, upstream: str) -> None:
    url = agent.connect(upstream).public_url
    answer = post(f"{url}/webhooks/a?x=%20y", b'{"a": "\xc3\xa9"}', x_webhook_secret="s")
    seen = answer.json()
    assert (answer.status, answer.headers["x-answer"]) == (201, "yes")
    assert (seen["method"], seen["path"], seen["body"]) == (
        "POST",
        "/webhooks/a?x=%20y",
        '{"a": "é"}',
    )
    headers = dict(seen["headers"])
    assert headers["x-webhook-secret"] == "s"
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "https"
    assert f"http://{headers['X-Forwarded-Host']}" == url


def test_many_requests_at_a_time_come_through(agent: Ngrok, upstream: str) -> None:
    url = agent.connect(upstream).public_url

    def send(number: int) -> str:
        body: str = post(f"{url}/", str(number).encode()).json()["body"]
        return body

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(64))) == [str(number) for number in range(64)]


def test_an_upstream_that_is_not_there_gives_8012(agent: Ngrok) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = agent.connect(f"http://127.0.0.1:{nobody.getsockname()[1]}").public_url
        answer = request("GET", f"{url}/")
    assert (answer.status, answer.headers["ngrok-error-code"]) == (502, "ERR_NGROK_8012")
    assert b"ERR_NGROK_8012" in answer.body


def test_the_state_file_tells_what_was_asked(agent: Ngrok, upstream: str) -> None:
    asked = "https://name.ngrok-free.dev"
    tunnel = agent.connect(upstream, name="mine", url=asked)
    state = agent.state
    [endpoint] = state["endpoints"]
    assert (endpoint["name"], endpoint["upstream"]) == ("mine", upstream)
    assert (endpoint["asked_url"], endpoint["url"]) == (asked, tunnel.public_url)
    assert state["pid"] == agent.process.proc.pid
    assert state["argv"][1:5] == ["start", "--none", "--log", "stdout"]
    assert state["token"] == "a-token" and "FAKE_NGROK_STATE" in state["environment"]
    assert state["config"] == agent.config_path.read_text()
    assert f"http://{state['api_address']}" == agent.process.api_url


def test_a_disconnected_endpoint_refuses(agent: Ngrok, upstream: str) -> None:
    tunnel = agent.connect(upstream)
    assert tunnel.public_url and tunnel.metrics["http"] == {"count": 0}
    post(tunnel.public_url, b"x")
    tunnel.refresh_metrics()
    assert tunnel.metrics["http"] == {"count": 1}
    ngrok.disconnect(tunnel.public_url, agent.pyngrok_config)
    assert ngrok.get_tunnels(agent.pyngrok_config) == [] == agent.state["endpoints"]
    assert refuses(tunnel.public_url)


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("no_authtoken", "ERR_NGROK_4018"),
        ("bad_authtoken", "ERR_NGROK_105"),
        ("revoked", "ERR_NGROK_107"),
        ("session_limit", "ERR_NGROK_108"),
        ("too_old", "ERR_NGROK_121"),
    ],
)
def test_a_session_is_refused(
    agent: Ngrok, scenario: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    agent.setenv("FAKE_NGROK_SCENARIO", scenario)
    with pytest.raises(PyngrokNgrokError, match="authentication failed") as caught:
        agent.connect("http://127.0.0.1:1")
    assert caught.value.ngrok_error_code == code
    assert rf"\r\n\r\n{code}\r\n" in str(caught.value)
    assert f"ERROR:  {code}" in capfd.readouterr().err.splitlines()


def test_no_token_anywhere_is_refused(agent: Ngrok) -> None:
    agent.pyngrok_config.auth_token = None
    with pytest.raises(PyngrokNgrokError) as caught:
        agent.connect("http://127.0.0.1:1")
    assert caught.value.ngrok_error_code == "ERR_NGROK_4018"


@pytest.mark.parametrize(
    "config",
    [
        'version: "3"\nagent:\n  web_addr: 127.0.0.1:0  # authtoken: other\n  authtoken: mine\n',
        "version: 2\nauthtoken: 'mine'\nweb_addr: 127.0.0.1:0\n",
        '{"version": "3", "agent": {"authtoken": "mine", "web_addr": "127.0.0.1:0"}}',
    ],
)
def test_the_token_may_stand_in_the_file(agent: Ngrok, upstream: str, config: str) -> None:
    agent.configure(config)
    agent.pyngrok_config.auth_token = None
    agent.connect(upstream)
    assert agent.state["token"] == "mine" and "--authtoken" not in agent.state["argv"]


def test_the_token_may_stand_in_the_environment(agent: Ngrok, upstream: str) -> None:
    agent.pyngrok_config.auth_token = None
    agent.setenv("NGROK_AUTHTOKEN", "from-outside")
    agent.connect(upstream)
    assert agent.state["token"] == "from-outside"


@pytest.mark.parametrize("before", ["", "authtoken: older\n"])
def test_a_saved_token_reaches_the_agent(agent: Ngrok, upstream: str, before: str) -> None:
    agent.configure(f"version: 2\nweb_addr: 127.0.0.1:0\n{before}")
    agent.pyngrok_config.auth_token = None
    ngrok.set_auth_token("saved", agent.pyngrok_config)
    agent.connect(upstream)
    assert agent.state["token"] == "saved"


def test_an_endpoint_may_be_online_elsewhere(agent: Ngrok) -> None:
    agent.setenv("FAKE_NGROK_SCENARIO", "endpoint_online")
    with pytest.raises(PyngrokNgrokHTTPError) as caught:
        agent.connect("http://127.0.0.1:1")
    assert (caught.value.status_code, caught.value.ngrok_error_code) == (502, None)
    assert "ERR_NGROK_334" in caught.value.body


def test_an_upstream_must_be_a_url(agent: Ngrok) -> None:
    with pytest.raises(PyngrokNgrokHTTPError, match="invalid tunnel configuration"):
        agent.connect("127.0.0.1:8000")  # pyngrok makes http://localhost:127.0.0.1:8000 of this


def test_without_a_network_the_agent_tries_on(agent: Ngrok) -> None:
    agent.setenv("FAKE_NGROK_SCENARIO", "no_network")
    with pytest.raises(PyngrokNgrokError, match="no such host") as caught:
        agent.connect_until(lambda: len(agent.lines("failed to reconnect session")) > 1)
    assert caught.value.ngrok_error_code is None


def test_an_agent_without_endpoints_does_not_start(agent: Ngrok) -> None:
    agent.setenv("FAKE_NGROK_SCENARIO", "old_api")
    with pytest.raises(PyngrokNgrokError, match="unable to start"):
        agent.connect_until(lambda: agent.lines("pg=/api/endpoints status=404"))


def test_a_silent_agent_holds_pyngrok_for_ever(agent: Ngrok) -> None:
    agent.setenv("FAKE_NGROK_SCENARIO", "silent")
    agent.pyngrok_config.startup_timeout = 1
    with pytest.raises(PyngrokNgrokError, match="unable to start") as caught:
        agent.connect_until(agent.state_path.exists)
    assert caught.value.ngrok_logs == [] and agent.state["api_address"] is None


def test_a_slow_agent_has_its_session_later(agent: Ngrok, upstream: str) -> None:
    agent.setenv("FAKE_NGROK_SCENARIO", "slow:0.1")
    assert agent.connect(upstream).public_url and agent.state["has_session"]


@pytest.mark.parametrize(("setting", "count"), [("", 1), ("  inspect_db_size: -1\n", 0)])
def test_the_inspector_keeps_requests_unless_it_is_off(
    agent: Ngrok, upstream: str, setting: str, count: int
) -> None:
    agent.configure(agent.config_path.read_text() + setting)
    post(f"{agent.connect(upstream, name='one').public_url}/a", b"body", x_webhook_secret="s")
    captured = pyngrok_agent.get_requests(pyngrok_config=agent.pyngrok_config)
    assert len(captured) == count
    if captured:
        kept = captured[0].request
        assert (kept["method"], kept["uri"], kept["raw"]) == ("POST", "/a", "Ym9keQ==")
        assert kept["headers"]["x-webhook-secret"] == ["s"]


def test_a_dropped_session_comes_back_at_the_same_address(agent: Ngrok, upstream: str) -> None:
    url = agent.connect(upstream).public_url
    agent.tell("drop")
    assert refuses(f"{url}/") and not agent.state["has_session"]
    [listed] = ngrok.get_tunnels(agent.pyngrok_config)
    assert listed.public_url == url
    with pytest.raises(PyngrokNgrokHTTPError, match="not yet ready"):
        agent.connect(upstream)
    agent.tell("restore")
    assert request("GET", f"{url}/").status == 201
    wait_until(lambda: len(agent.lines("client session established")) == 2)
    assert agent.lines("session closed, starting reconnect loop")


def test_dropping_ends_open_connections(agent: Ngrok, upstream: str) -> None:
    url = agent.connect(upstream).public_url
    assert url
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 201")
        agent.tell("drop")
        while connection.recv(1000):
            pass  # what was left of the answer, then the end


def test_a_session_may_move_to_another_address(agent: Ngrok, upstream: str) -> None:
    asked = "https://name.ngrok-free.dev"
    url = agent.connect(upstream, url=asked).public_url
    agent.tell("move")
    [listed] = ngrok.get_tunnels(agent.pyngrok_config)
    assert listed.public_url != url and refuses(f"{url}/")
    assert request("GET", f"{listed.public_url}/").status == 201
    [endpoint] = agent.state["endpoints"]
    assert (endpoint["asked_url"], endpoint["url"]) == (asked, listed.public_url)


def test_an_agent_may_die(agent: Ngrok, upstream: str) -> None:
    url = agent.connect(upstream).public_url
    agent.tell("die")
    assert agent.process.proc.wait(10) == 1
    assert refuses(f"{url}/") and refuses(agent.api)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent(agent: Ngrok, upstream: str, number: int) -> None:
    agent.connect(upstream)
    agent.process.proc.send_signal(number)
    assert agent.process.proc.wait(10) == 0


def test_the_api_takes_the_next_free_port(agent: Ngrok, upstream: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        agent.configure(f'version: "3"\nagent:\n  web_addr: 127.0.0.1:{port}\n')
        agent.connect(upstream)
        assert int(agent.api.rpartition(":")[2]) > port
    status = request("GET", f"{agent.api}/api/status").json()
    assert (status["status"], status["agent_version"]) == ("online", "3.30.0")


def test_it_has_a_version(agent: Ngrok) -> None:
    assert ngrok.get_version(agent.pyngrok_config)[0] == "3.30.0"
    result = subprocess.run([NGROK, "version"], capture_output=True, check=True)
    assert result.stdout == b"ngrok version 3.30.0\n"


class Cloudflared:
    """The stand-in for cloudflared, and what it says about itself."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.state_path = folder / "state.json"
        arguments = ["tunnel", "--no-autoupdate", "--metrics", "127.0.0.1:0", "--url", upstream]
        environment = os.environ | {"FAKE_CLOUDFLARED_STATE": str(self.state_path)}
        self.process = subprocess.Popen(
            [CLOUDFLARED, *arguments], stderr=subprocess.PIPE, env=environment, text=True
        )
        assert self.process.stderr
        self.stderr = self.process.stderr

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.state_path.read_text())
        return state

    def is_ready(self) -> bool:
        answer = request("GET", f"http://{self.state['metrics']}/ready")
        assert (answer.status == 200) == bool(answer.json()["readyConnections"])
        return answer.status == 200

    def read_url(self) -> str:
        """Read lines up to the one with the URL in its box."""
        line = next(line for line in self.stderr if "INF |  http" in line)
        return line.split()[3]


@pytest.fixture
def cloudflared(tmp_path: Path, upstream: str) -> Iterator[Callable[[], Cloudflared]]:
    started: list[Cloudflared] = []

    def start() -> Cloudflared:
        started.append(Cloudflared(tmp_path, upstream))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.stderr.close()


def test_a_quick_tunnel_passes_requests_on(cloudflared: Callable[[], Cloudflared]) -> None:
    tunnel = cloudflared()
    assert tunnel.read_url() == PUBLIC_URL == tunnel.state["url"]
    wait_until(tunnel.is_ready)
    hostname = request("GET", f"http://{tunnel.state['metrics']}/quicktunnel").json()["hostname"]
    assert f"https://{hostname}" == PUBLIC_URL
    answer = post(f"{tunnel.state['edge']}/webhooks/a", b"body", x_webhook_secret="s")
    assert (answer.status, answer.json()["body"]) == (201, "body")
    assert ["x-webhook-secret", "s"] in answer.json()["headers"]


def test_a_quick_tunnel_may_have_a_loopback_url(
    cloudflared: Callable[[], Cloudflared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLOUDFLARED_URL", "loopback")
    tunnel = cloudflared()
    assert request("GET", tunnel.read_url()).status == 201


@pytest.mark.parametrize(
    ("scenario", "text"),
    [
        ("failed", "failed to request quick Tunnel: Post"),
        ("rate_limited", 'QuickTunnel response: error code: 1015 error="invalid'),
        ("rate_limited", "failed to unmarshal quick Tunnel: invalid character"),
    ],
)
def test_a_quick_tunnel_may_fail(
    cloudflared: Callable[[], Cloudflared],
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    text: str,
) -> None:
    monkeypatch.setenv("FAKE_CLOUDFLARED_SCENARIO", scenario)
    tunnel = cloudflared()
    assert text in tunnel.stderr.read()
    assert tunnel.process.wait(10) == 1


def test_a_quick_tunnel_may_die(
    cloudflared: Callable[[], Cloudflared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLOUDFLARED_SCENARIO", "dies")
    tunnel = cloudflared()
    assert tunnel.read_url() == PUBLIC_URL
    assert tunnel.process.wait(10) == 1


def test_a_quick_tunnel_dies_when_a_test_says_so(
    cloudflared: Callable[[], Cloudflared], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_CLOUDFLARED_SCENARIO", "dies")
    monkeypatch.setenv("FAKE_CLOUDFLARED_DIE", str(tmp_path / "die"))
    tunnel = cloudflared()
    tunnel.read_url()
    wait_until(tunnel.is_ready)
    assert request("GET", tunnel.state["edge"]).status == 201
    (tmp_path / "die").touch()
    assert tunnel.process.wait(10) == 1


def test_a_flood_has_to_be_read(
    cloudflared: Callable[[], Cloudflared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLOUDFLARED_SCENARIO", "floods")
    tunnel = cloudflared()
    assert tunnel.read_url() == PUBLIC_URL
    assert not tunnel.is_ready()  # the pipe is full
    size = 0
    while "Registered tunnel connection" not in (line := tunnel.stderr.readline()):
        size += len(line)
    assert size > 2_000_000
    wait_until(tunnel.is_ready)
    tunnel.process.terminate()
    assert tunnel.process.wait(10) == 0
