"""A small internet on loopback: names that lead somewhere, by HTTPS with certificates.

Programs find it as their proxy, as behind the firewall of a company.
"""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import urlsplit

import trustme


class Internet:
    """What is asked for at a name in `places` is answered by the URL there."""

    def __init__(self, folder: Path) -> None:
        self.places: dict[str, Callable[[], str]] = {}
        self.certificates = folder / "certificates.pem"
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(self.certificates))
        handler = type("Connect", (_Connect,), {"internet": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def env(self) -> dict[str, str]:
        """What a program needs to be on it."""
        proxy = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {"https_proxy": proxy, "no_proxy": "", "SSL_CERT_FILE": str(self.certificates)}

    def secured(self, connection: socket.socket, name: str) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context.wrap_socket(connection, server_side=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: object) -> None:
        """Say nothing about those who went away."""


class _Connect(StreamRequestHandler):
    internet: Internet

    def handle(self) -> None:
        words = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        name = words[1].partition(b":")[0].decode()
        place = self.internet.places.get(name)
        if words[0] != b"CONNECT" or place is None:
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        parts = urlsplit(place())
        with (
            self.internet.secured(self.connection, name) as outside,
            socket.create_connection((parts.hostname or "", parts.port or 80)) as inside,
        ):
            back = Thread(target=_pump, args=(inside, outside), daemon=True)
            back.start()
            _pump(outside, inside)
            back.join(5)


def _pump(source: Any, target: Any) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
