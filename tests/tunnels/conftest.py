"""Real programs to open tunnels to: an ssh server, a reverse proxy."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import Answer, request, wait_until

HANDLER = """
from hfhooks import webhook_endpoint, WebhookPayload

@webhook_endpoint
def echo(payload: WebhookPayload):
    return {"repo": payload.repo.name}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def app(script: Callable[..., Path]) -> Path:
    """A script with one endpoint, `echo`."""
    return script(HANDLER)


@dataclass
class SshServer:
    """An OpenSSH server on loopback, and an `ssh` that knows the way to it."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    gateway_ports: str = "clientspecified"

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def prepare(self) -> None:
        for key in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
            subprocess.run(command, check=True)
        self.allow(self.folder / "user.pub")
        (self.folder / "client").write_text(
            f"Port {self.port}\nIdentityFile {self.folder}/user\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.folder}/known_hosts\n"
        )
        client = self.folder / "ssh"
        client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/client "$@"\n')
        client.chmod(0o700)

    def allow(self, key: Path | None) -> None:
        """Let in who has this key, and nobody else."""
        (self.folder / "authorized_keys").write_text(key.read_text() if key else "")

    def start(self) -> None:
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            f"PidFile none\nGatewayPorts {self.gateway_ports}\n"
        )
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program
        log = (self.folder / "log").open("wb")
        with log:
            command = [program, "-D", "-e", "-f", str(config)]
            self.process = subprocess.Popen(command, stderr=log, start_new_session=True)
        wait_until(lambda: listens(self.port))

    def kill(self) -> None:
        """End it, with every connection to it."""
        assert self.process
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("needs OpenSSH's server: apt install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it wants to be able to go
    server = SshServer(tmp_path)
    server.prepare()
    server.start()
    yield server
    if server.process and server.process.poll() is None:
        server.kill()


@dataclass
class ReverseProxy:
    """nginx on loopback."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, rule: str) -> None:
        """Run it with this as the body of its `server` block."""
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; pid {self.folder}/pid; error_log stderr;\n"
            "events {}\nhttp { access_log off;\n"
            f"  client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p;\n"
            f"  fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u;\n"
            f"  scgi_temp_path {self.folder}/s;\n"
            f"  server {{ listen 127.0.0.1:{self.port}; {rule} }}\n}}\n"
        )
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program
        command = [program, "-e", "stderr", "-c", str(config)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(lambda: listens(self.port))

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[ReverseProxy]:
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("needs a reverse proxy: apt install nginx-light")
    proxy = ReverseProxy(tmp_path)
    yield proxy
    proxy.stop()


STANDINS = Path(__file__).parents[1] / "standins"


def install(name: str, folder: Path) -> Path:
    """Make a stand-in a program of this name."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    # Without site-packages, of which it needs nothing, it starts in a tenth of the time.
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {STANDINS / name}.py "$@"\n')
    program.chmod(0o700)
    return program


TOKEN = "2abcDEFghiJKLmnoPQRstuVWXyz_canary"


SECRETS = dict.fromkeys(
    ("WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    "no business of a tunnel",
)


@dataclass
class NgrokAgent:
    """ngrok's agent, as it will be found and run; it obeys once it runs."""

    folder: Path
    token: str | None = TOKEN
    scenario: str = "ok"

    @property
    def program(self) -> Path:
        return self.folder / "bin" / "ngrok"

    @property
    def env(self) -> dict[str, str]:
        env = {
            "PATH": f"{self.program.parent}:{os.environ['PATH']}",
            "FAKE_NGROK_SCENARIO": self.scenario,
            "FAKE_NGROK_STATE": str(self.folder / "ngrok.json"),
        }
        return env | ({"NGROK_AUTHTOKEN": self.token} if self.token else {})

    @property
    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "ngrok.json").read_text())
        return content

    @property
    def has_run(self) -> bool:
        return (self.folder / "ngrok.json").exists()

    def api(self, method: str, path: str) -> Answer:
        return request(method, f"http://{self.state['api_address']}{path}")

    def obey(self, word: str) -> None:
        """Let it `drop` its session, `restore` it, `move` to another URL, or `die`."""
        assert self.api("POST", f"/stand-in/{word}").status == 200

    @property
    def is_running(self) -> bool:
        return psutil.pid_exists(self.state["pid"]) and (
            psutil.Process(self.state["pid"]).status() != psutil.STATUS_ZOMBIE
        )


@pytest.fixture
def agent(tmp_path: Path) -> NgrokAgent:
    agent = NgrokAgent(tmp_path)
    install("ngrok", agent.program.parent)
    return agent
