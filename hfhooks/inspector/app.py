"""Answers the requests of the inspector's listener."""

import json
from collections.abc import Callable
from urllib.parse import parse_qs

from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import JournalError
from hfhooks.gateway.admission import is_one_of
from hfhooks.gateway.app import refused
from hfhooks.http.limits import Refusal
from hfhooks.http.messages import Answer, Request
from hfhooks.inspector.metrics import Gauges, Metrics, rendered
from hfhooks.journal.sqlite.journal import Journal
from hfhooks.model.headers import TOKEN_HEADER
from hfhooks.tasks import in_thread

__all__ = ["Inspector"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
METRICS = "/metrics"
RETRY, PRUNE = "/deliveries/retry", "/deliveries/prune"
HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Inspector:
    """Lets this machine see what the server does, and its owner change what is recorded.

    `port` is where it listens, on loopback only; `token` proves who is the owner.
    """

    def __init__(
        self,
        port: int,
        metrics: Metrics,
        gauges: Callable[[], Gauges],
        journal: Journal,
        dispatcher: Dispatcher,
        token: str,
    ) -> None:
        self._journal, self._dispatcher = journal, dispatcher
        self._token = token
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
        if request.path in (RETRY, PRUNE):
            return await self._change(request)
        if request.path not in ("/", METRICS):
            raise Refusal(404, "not_found")
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "method_not_allowed", {"allow": "GET, HEAD"})
        body, media_type = b"hfhooks: see /metrics\n", "text/plain; charset=utf-8"
        if request.path == METRICS:
            body, media_type = await in_thread(rendered, self._metrics, self._gauges())
        return Answer(200, body, ((b"content-type", media_type.encode()), *HEADERS))

    async def _change(self, request: Request) -> Answer:
        given = request.fields.get(TOKEN_HEADER, "").encode("latin-1")
        if not is_one_of(given, [self._token]):
            raise Refusal(401, "unauthorized")
        if request.method != "POST":
            raise Refusal(405, "method_not_allowed", {"allow": "POST"})
        values = {name: values[0] for name, values in parse_qs(request.query).items()}
        try:
            if request.path == PRUNE:
                done: object = await self._journal.prune(float(values["before"]))
            else:
                ids = [int(values["id"])] if "id" in values else self._journal.failed()
                done = [id for id in ids if await self._dispatcher.retry(id)]
        except (KeyError, ValueError) as error:
            raise Refusal(400, "bad_request") from error
        except JournalError as error:
            raise Refusal(503, "unavailable") from error
        return Answer(200, json.dumps(done).encode())
