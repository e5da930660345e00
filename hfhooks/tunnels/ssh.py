"""Remote forwarding by the ssh program: to a service made for it, or to one's own server."""

import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple
from urllib.parse import urlsplit

from hfhooks.errors import TunnelError, UsageError
from hfhooks.settings import Settings
from hfhooks.tunnels.programs import environment, find_program, opened_by
from hfhooks.tunnels.tunnel import Tell

__all__ = ["Ssh"]


class Service(NamedTuple):
    """A host that gives every connection a URL, and says it."""

    says: re.Pattern[str]
    """Has the URL as its first group."""
    remote_port: int = 80
    user: str | None = None
    options: tuple[str, ...] = ()


SERVICES = {
    "localhost.run": Service(re.compile(r"tls termination, (https://\S+)"), user="nokey"),
    "serveo.net": Service(re.compile(r"Forwarding HTTP traffic from (https://\S+)")),
    "a.pinggy.io": Service(re.compile(r"^(https://\S+)"), 0, options=("-p", "443")),
}
ALLOCATED = re.compile(r"Allocated port (\d+) for remote forward")
OPTIONS = {
    "BatchMode": "yes",  # a question would wait for an answer that nobody gives
    "ExitOnForwardFailure": "yes",
    "ServerAliveCountMax": "3",
    "ServerAliveInterval": "15",
    "StrictHostKeyChecking": "accept-new",
}


class Ssh:
    name = "ssh"
    probe_every = 60.0
    must_answer = True

    def __init__(self, settings: Settings) -> None:
        if not settings.ssh_host:
            help = "Say where to: --ssh-host localhost.run, or a server of yours."
            raise UsageError("--tunnel ssh needs a host.", help)
        if settings.ssh_host.startswith("-"):
            raise UsageError(f"--ssh-host {settings.ssh_host}: no host has such a name.")
        self._program = find_program("ssh", "Install OpenSSH's client.")
        self._host = settings.ssh_host
        self._service = SERVICES.get(self._host.rpartition("@")[2])

    def open(self, local_url: str, tell: Tell) -> AbstractAsyncContextManager[str]:
        says = _said(self._service.says) if self._service else _allocated(self._server())
        return opened_by(self.command(local_url), says, tell)

    def command(self, local_url: str) -> list[str]:
        """Return the command line that forwards to this URL."""
        local = urlsplit(local_url).netloc
        options = [f"-o{option}={value}" for option, value in OPTIONS.items()]
        if self._service is None:
            # No shell there, and a port that it chooses, on all its addresses if it lets us.
            return [self._program, "-T", *options, "-N", "-R", f"*:0:{local}", self._host]
        names_user = "@" in self._host or not self._service.user
        host = self._host if names_user else f"{self._service.user}@{self._host}"
        forward = f"{self._service.remote_port}:{local}"
        return [self._program, "-T", *options, *self._service.options, "-R", forward, host]

    def _server(self) -> str:
        """Return the host's name in the net; ssh's own configuration may have another for it."""
        asked = subprocess.run(
            [self._program, "-G", self._host],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
        found = re.search(r"^hostname (\S+)$", asked.stdout, re.MULTILINE)
        if not found:
            raise TunnelError(f"ssh: {asked.stderr.strip()}")
        return f"[{found[1]}]" if ":" in found[1] else found[1]


def _said(says: re.Pattern[str]) -> Callable[[str], str | None]:
    def url_in(line: str) -> str | None:
        found = says.search(line)
        return found and found[1]

    return url_in


def _allocated(server: str) -> Callable[[str], str | None]:
    def url_in(line: str) -> str | None:
        found = ALLOCATED.search(line)
        return found and f"http://{server}:{found[1]}"

    return url_in
