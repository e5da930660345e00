"""What a server listens on, and how the internet reaches it: had before anything else is done."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from hfhooks.errors import HfhooksError, StartError
from hfhooks.http.limits import most_connections
from hfhooks.http.listener import bind
from hfhooks.secret import environment_secrets
from hfhooks.serving.owner import find_server
from hfhooks.settings import Settings
from hfhooks.tunnels import chosen
from hfhooks.tunnels.tunnel import Tunnel

__all__ = ["LOOPBACK", "Sockets", "bound"]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Sockets:
    """What a server listens on."""

    public: socket.socket
    own: socket.socket
    """For this machine alone."""
    tunnel: Tunnel | None
    connections: int
    """How many there may be."""

    @property
    def port(self) -> int:
        return int(self.public.getsockname()[1])

    @property
    def own_url(self) -> str:
        return f"http://{LOOPBACK}:{self.own.getsockname()[1]}"


@contextmanager
def bound(settings: Settings) -> Iterator[Sockets]:
    """Yield the sockets of a server. Raises `HfhooksError` when they cannot be had."""
    environment_secrets(os.environ)  # what is wrong with them no saved script will mend
    connections = most_connections()
    tunnel = chosen(settings)
    with ExitStack() as stack:
        public = stack.enter_context(closing(_bind(settings.host, settings.port)))
        own = stack.enter_context(closing(_bind(LOOPBACK, settings.inspector_port)))
        yield Sockets(public, own, tunnel, connections)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except StartError as error:
        try:
            other = find_server(port)
        except HfhooksError:
            raise error from None
        text = f"port {port} is in use by hfhooks, process {other.pid}."
        raise StartError(text, error.help) from error
