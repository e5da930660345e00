"""Answers the requests of the inspector's listener."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qs

from hfhooks.errors import JournalError
from hfhooks.http.messages import Answer, Request, json_answer, refused
from hfhooks.inspector.metrics import Gauges, Metrics, rendered
from hfhooks.journal import Journal
from hfhooks.journal.orphans import orphans
from hfhooks.model.delivery import UNFINISHED, Wanted
from hfhooks.model.headers import TOKEN_HEADER
from hfhooks.model.refusal import Refusal
from hfhooks.secret import is_one_of
from hfhooks.tasks import in_thread

__all__ = ["Inspector"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
METRICS = "/metrics"
RETRY, PRUNE = "/deliveries/retry", "/deliveries/prune"
CANCEL = "/deliveries/cancel"
HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
MOST = 1_000_000


class Inspector:
    """Lets this machine see what the server does, and its owner change what is recorded.

    `url` is where it listens, on loopback only; `cancel` ends deliveries that wait or run, and
    returns which did; `token` proves who is the owner.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        gauges: Callable[[], Awaitable[Gauges]],
        journal: Journal,
        cancel: Callable[[Sequence[int]], Awaitable[Sequence[int]]],
        token: str,
    ) -> None:
        self._journal = journal
        self._cancel = cancel
        self._token = token
        port = url.rpartition(":")[2]
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
        origin = request.fields.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            raise Refusal(403, "forbidden")
        if request.path in (RETRY, PRUNE, CANCEL):
            return await self._change(request)
        if request.path not in ("/", METRICS):
            raise Refusal(404, "not_found")
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "method_not_allowed", {"allow": "GET, HEAD"})
        body, media_type = b"hfhooks: see /metrics\n", "text/plain; charset=utf-8"
        if request.path == METRICS:
            body, media_type = await in_thread(rendered, self._metrics, await self._gauges())
        return Answer(200, body, ((b"content-type", media_type.encode()), *HEADERS))

    async def _change(self, request: Request) -> Answer:
        given = request.fields.get(TOKEN_HEADER, "").encode("latin-1")
        if not is_one_of(given, [self._token]):
            raise Refusal(401, "unauthorized")
        if request.method != "POST":
            raise Refusal(405, "method_not_allowed", {"allow": "POST"})
        if self._journal.condition.state == "away":  # what is asked for now would wait
            raise Refusal(503, "unavailable")
        asked = parse_qs(request.query)
        values = {name: values[0] for name, values in asked.items()}
        try:
            if request.path == CANCEL:
                return json_answer(list(await self._cancel(await self._unfinished(asked))))
            if request.path == PRUNE:
                return json_answer(await self._journal.prune(float(values["before"])))
            wanted = Wanted(statuses=("failed",), limit=MOST)
            if "id" in values:
                wanted = Wanted(ids=[int(values["id"])])
            return json_answer(list(await self._journal.requeue(wanted)))
        except (KeyError, ValueError) as error:
            raise Refusal(400, "bad_request") from error
        except JournalError as error:
            raise Refusal(503, "unavailable") from error

    async def _unfinished(self, asked: Mapping[str, Sequence[str]]) -> Sequence[int]:
        """Return the deliveries that are to be cancelled."""
        if "orphans" in asked:
            return await orphans(self._journal)
        if "endpoint" in asked:
            wanted = Wanted(endpoint=asked["endpoint"][0], statuses=UNFINISHED, limit=MOST)
            return [each.id for each in await self._journal.list(wanted)]
        return [int(id) for id in asked["id"]]
