"""Check, record, answer: what the gateway does about a request."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from hfhooks.errors import Fault, JournalError, JournalFault, JournalFull
from hfhooks.gateway.admission import Admission
from hfhooks.gateway.answers import accepted, for_owner, with_outcome
from hfhooks.gateway.paths import STARTING, Paths
from hfhooks.http.messages import Answer, Request, json_answer, refused
from hfhooks.http.passage import Passed, Site
from hfhooks.journal import Journal
from hfhooks.model.delivery import Claim, Recorded, Stored, Verdict
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Duplicate, Full, Happening, Ignored, Refused
from hfhooks.model.headers import ORIGIN_HEADER, TOKEN_HEADER
from hfhooks.model.host import Host
from hfhooks.model.receive import check_media_type, receive
from hfhooks.model.refusal import Refusal
from hfhooks.secret import is_one_of

__all__ = ["PROBES", "Gateway"]

PROBES = "/.hfhooks/"
"""Where requests come that look for this server, followed by a secret."""
ORIGINS = ("replay", "trigger")
"""What an owner may say a delivery comes from."""
UNAVAILABLE = {"retry-after": "60"}
PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Gateway:
    """Answers the requests of the public listener.

    `host` calls the handlers; `is_ready` tells whether it can. `url` is where this machine reaches
    us, and `public_url` where everybody does; `address` is what is listened on; `wait` is how many
    seconds a sender is kept for the handler's own answer; `token` proves that a request comes from
    this machine's user; whoever finds an answer at `probe` has found this server and no other.
    """

    def __init__(
        self,
        journal: Journal,
        host: Host,
        tell: Callable[[Happening], None],
        *,
        url: str,
        public_url: str | None = None,
        address: str = "127.0.0.1",
        wait: float,
        token: str,
        probe: str = PROBES,
        is_ready: Callable[[], bool] = lambda: True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._probe = probe
        self._is_full = False
        self._admission = Admission(now, address)
        self.reached_at(url, public_url)
        self._journal, self._host = journal, host
        self._tell = tell
        self._wait = wait
        self._token = token
        self._is_ready = is_ready
        self._now = now
        self.paths = Paths(("/healthz", probe), wait)

    def reached_at(self, url: str, public_url: str | None) -> None:
        """Show from now on where this machine, and where everybody, reaches us."""
        self._url, self._public_url = url, public_url
        self._admission.public_url = public_url

    def publish(
        self, endpoints: Iterable[Endpoint], site: Site | None = None, are_all: bool = True
    ) -> None:
        """Accept deliveries for these endpoints from now on; what else comes is for the `site`.

        Senders to others hear that there is no such endpoint, if these `are_all` there are.
        """
        self.paths.publish(endpoints, site, are_all)

    def stop(self) -> None:
        """Accept no further delivery."""
        self.paths.stop()

    async def respond(self, request: Request) -> Answer:
        """Return the answer to a request, and see to what it asks."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            # Of a 503 there may be thousands, and why is said once.
            if self.paths.is_endpoint(request.path) and refusal.status != 503:
                self._tell(Refused(request.path, refusal.status, refusal.word, refusal.hint))
            return refused(refusal)

    async def _answer(self, request: Request) -> Answer:
        if request.bad_head:
            raise request.bad_head
        if isinstance(request, Passed):  # and nobody is there to take it
            raise Refusal(503, "unavailable", STARTING)
        if request.path == "/":
            _check_method(request, "GET", "HEAD")
            return self._landing_page()
        if request.path == "/healthz":
            _check_method(request, "GET", "HEAD")
            return self._health(request)
        if request.path == self._probe:
            _check_method(request, "GET", "HEAD")
            return Answer(204, b"", ())
        endpoint = await self.paths.endpoint_at(request.path)
        _check_method(request, "POST")
        is_owner = self._is_owner(request)
        if not is_owner:
            self._admission.check(request, endpoint)
        check_media_type(endpoint, request.fields)
        delivery, mismatch = receive(
            endpoint,
            query=request.query,
            headers=request.headers,
            body=await request.body(),
            received_at=self._now(),
            origin=_origin(request) if is_owner else "hub",
        )
        answer, id, status = await self._take(delivery, mismatch)
        return for_owner(answer, id, status) if is_owner else answer

    async def _take(self, delivery: Recorded, mismatch: str | None) -> tuple[Answer, int, str]:
        """Record a delivery; return the answer to its sender, its id, and what has become of it."""
        turn = self._host.expect(delivery.endpoint)
        stored, sender = None, None
        try:
            stored = await self._record(delivery, turn.takes)
            if turn.is_kept and self._wait > 0 and stored.status in ("queued", "running"):
                sender = _Kept(stored, self._wait)
        finally:
            turn.arrived(stored, sender)
        if sender:
            return await self._told(sender)
        if stored.status == "duplicate":
            self._tell(Duplicate(stored.id, delivery))
        elif mismatch:
            self._tell(Ignored(stored.id, delivery, mismatch))
        return accepted(stored.id, stored.status), stored.id, stored.status

    async def _told(self, sender: "_Kept") -> tuple[Answer, int, str]:
        answer, status = await sender.answered
        if self._journal.condition.state == "failed":
            raise Refusal(503, "unavailable", UNAVAILABLE)
        return answer, sender.id, status

    async def _record(self, delivery: Recorded, take: bool) -> Stored:
        """Return what became of it once it is on disk. Raises `Refusal` when that cannot be."""
        recorded: asyncio.Future[Stored | JournalError] = asyncio.Future()

        def done(result: Stored | JournalError) -> None:
            if not recorded.done():  # or whoever waited has gone
                recorded.set_result(result)

        self._journal.record(delivery, done, take)
        result = await recorded
        if isinstance(result, JournalFault) and self._journal.condition.state != "failed":
            raise Fault("recording a delivery", result.error) from result.error
        if isinstance(result, JournalError):
            if isinstance(result, JournalFull) and not self._is_full:
                self._is_full = True
                self._tell(Full(str(result)))
            raise Refusal(503, "unavailable", UNAVAILABLE) from result
        if self._is_full:
            self._is_full = False
            self._tell(Full(None))
        return result

    def _is_owner(self, request: Request) -> bool:
        given = request.fields.get(TOKEN_HEADER)
        return given is not None and is_one_of(given.encode("latin-1"), [self._token])

    def _health(self, request: Request) -> Answer:
        is_ready = self._is_ready()
        content: dict[str, Any] = {"status": "ready" if is_ready else "starting"}
        if self._is_owner(request):
            content["pid"] = os.getpid()
        return json_answer(content, 200 if is_ready else 503)

    def _landing_page(self) -> Answer:
        from hfhooks.gateway.landing import landing_page  # Jinja2 waits for the first visitor

        url, is_public = self._public_url or self._url, self._public_url is not None
        html = landing_page(self.paths.endpoints, url, is_public)
        return Answer(200, html.encode(), PAGE_HEADERS)


class _Kept:
    """A sender that is kept for so many seconds."""

    def __init__(self, stored: Stored, wait: float) -> None:
        loop = asyncio.get_running_loop()
        self.id = stored.id
        self.answered: asyncio.Future[tuple[Answer, str]] = loop.create_future()
        """The answer, and what has become of the delivery."""
        self._status = stored.status
        self._too_late = loop.call_later(wait, self.waits_in_vain)

    def told(self, claim: Claim, verdict: Verdict, ending: Ending) -> int:
        """Answer with the outcome, if it is in time; return the HTTP status of the answer."""
        self._answer(with_outcome(self.id, verdict, ending), verdict.status)
        return self.answered.result()[0].status

    def waits_in_vain(self) -> None:
        """Answer without an outcome: there will be none in time."""
        self._answer(accepted(self.id, self._status), self._status)

    def _answer(self, answer: Answer, status: str) -> None:
        if not self.answered.done():
            self._too_late.cancel()
            self.answered.set_result((answer, status))


def _origin(request: Request) -> str:
    origin = request.fields.get(ORIGIN_HEADER, "trigger")
    return origin if origin in ORIGINS else "trigger"


def _check_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, "method_not_allowed", {"allow": ", ".join(methods)})
