"""Answers the requests of the inspector's listener."""

from collections.abc import Callable

from hfhooks.gateway.app import refused
from hfhooks.gateway.limits import Refusal
from hfhooks.gateway.message import Answer, Request
from hfhooks.inspector.metrics import Gauges, Metrics, rendered
from hfhooks.loop import in_thread

__all__ = ["Inspector"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
METRICS = "/metrics"
HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Inspector:
    """Lets this machine see what the server does. `port` is where it listens, on loopback only."""

    def __init__(self, port: int, metrics: Metrics, gauges: Callable[[], Gauges]) -> None:
        self._hosts = {f"{host}:{port}" for host in LOOPBACK}
        self._metrics = metrics
        self._gauges = gauges

    async def respond(self, request: Request) -> Answer:
        """Return the answer to a request."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            return refused(refusal)

    async def _answer(self, request: Request) -> Answer:
        if request.bad_head:
            raise request.bad_head
        # A page on the internet may have a name that leads to this machine's loopback.
        if request.fields.get("host") not in self._hosts:
            raise Refusal(421, "misdirected")
        if request.path not in ("/", METRICS):
            raise Refusal(404, "not_found")
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "method_not_allowed", {"allow": "GET, HEAD"})
        body, media_type = b"hfhooks: see /metrics\n", "text/plain; charset=utf-8"
        if request.path == METRICS:
            body, media_type = await in_thread(rendered, self._metrics, self._gauges())
        return Answer(200, body, ((b"content-type", media_type.encode()), *HEADERS))
