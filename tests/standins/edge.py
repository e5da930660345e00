"""The public side of a stand-in tunnel: takes requests on the loopback and really passes them on.

Nothing but the standard library, because the programs that use it are run as files.
"""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

HOST = "127.0.0.1"
BETWEEN_TWO = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}
"""Headers that belong to one connection (RFC 9110, 7.6.1)."""
FRAMING = {"content-length", "transfer-encoding"}
FORWARDED = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}

Headers = list[tuple[str, str]]


def without(headers: Iterable[tuple[str, str]], names: set[str]) -> Headers:
    """Return the headers that have none of these names."""
    return [(name, value) for name, value in headers if name.lower() not in names]


class Passed(NamedTuple):
    """One request that went through, with the answer it got."""

    method: str
    target: str
    headers: Headers
    """As the upstream saw them."""
    body: bytes
    status: int
    answer: bytes


class Page(NamedTuple):
    """What the edge itself answers with when the upstream gives nothing."""

    headers: Headers
    body: bytes


class LoopbackServer(ThreadingHTTPServer):
    """An HTTP server that can go away at once, with its open connections."""

    request_queue_size = 128

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def server_bind(self) -> None:
        # HTTPServer looks up the name of the host here, which can take seconds.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override] # typeshed allows datagrams
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override] # typeshed allows datagrams
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Say nothing about senders that went away."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """What the servers here share: HTTP/1.1, whole bodies, answers in one piece, no log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one packet

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def answer(self, status: int, headers: Headers, body: bytes, reason: str | None = None) -> None:
        self.send_response_only(status, reason)
        for name, value in headers:
            self.send_header(name, value)
        is_bare = self.command == "HEAD" or status in (204, 304)
        if not is_bare:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if is_bare else body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None: ...


class _EdgeServer(LoopbackServer):
    allow_reuse_port = True  # beside the holder of the port


class Edge:
    """An address on the loopback whose requests reach `upstream`, as through a tunnel.

    It adds what proxies add: X-Forwarded-For, -Host, and -Proto, which says https as the public
    addresses of tunnels do. When the upstream refuses or goes away in the middle, the sender gets
    502 with the page that `failure` makes. The port is the same for life, also while the edge is
    closed and connections are refused. `on_passed` hears of each request; it runs in threads.
    """

    def __init__(
        self,
        upstream: str,
        failure: Callable[[Exception], Page],
        on_passed: Callable[[Passed], None] = lambda _: None,
    ) -> None:
        parts = urlsplit(upstream)
        if not parts.hostname:
            raise ValueError(f"no host in {upstream!r}")
        self.target = (parts.hostname, parts.port or 80)
        self.failure = failure
        self.on_passed = on_passed
        self.passed = 0
        # Bound but not listening, so that nobody else gets the port while the edge is closed.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind((HOST, 0))
        self.port: int = self._holder.getsockname()[1]
        self._server: _EdgeServer | None = None
        self.open()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def open(self) -> None:
        """Listen, if the edge does not."""
        if self._server is None:
            handler = type("EdgeHandler", (_EdgeHandler,), {"edge": self})
            self._server = _EdgeServer(self.port, handler)
            self._server.start()

    def close(self) -> None:
        """Refuse connections and end those that are open; `open` takes the same port again."""
        if self._server is not None:
            self._server.stop()
            self._server = None


class _EdgeHandler(Handler):
    edge: Edge

    def forward(self) -> None:
        headers = self._forwarded_headers()
        body = self.read_body()
        try:
            status, reason, answered, content = self._ask(headers, body)
        except (OSError, HTTPException) as error:
            page = self.edge.failure(error)
            status, reason, answered, content = 502, "Bad Gateway", page.headers, page.body
        self.edge.passed += 1
        self.edge.on_passed(Passed(self.command, self.path, headers, body, status, content))
        self.answer(status, answered, content, reason)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = forward  # noqa: N815 # http.server's names

    def _forwarded_headers(self) -> Headers:
        before = self.headers.get("x-forwarded-for")
        client = str(self.client_address[0])
        return [
            *without(self.headers.items(), BETWEEN_TWO | FRAMING | FORWARDED),
            ("X-Forwarded-For", f"{before}, {client}" if before else client),
            ("X-Forwarded-Host", self.headers.get("host", "")),
            ("X-Forwarded-Proto", "https"),
        ]

    def _ask(self, headers: Headers, body: bytes) -> tuple[int, str, Headers, bytes]:
        has_body = any(name in self.headers for name in FRAMING)
        with closing(HTTPConnection(*self.edge.target, timeout=60)) as upstream:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                upstream.putheader(name, value)
            if has_body:
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            response = upstream.getresponse()
            framing = FRAMING if self.command != "HEAD" else {"transfer-encoding"}
            kept = without(response.getheaders(), BETWEEN_TWO | framing)
            return response.status, response.reason, kept, response.read()
