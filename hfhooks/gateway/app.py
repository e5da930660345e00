"""Check, record, answer: what the gateway does about a request."""

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from hfhooks.dispatch.dispatcher import Dispatcher, Outcome
from hfhooks.errors import JournalError, JournalFull
from hfhooks.gateway.admission import Admission, is_one_of, without_secret
from hfhooks.http.limits import Refusal, check_media_type, json_object
from hfhooks.http.messages import JSON, Answer, Headers, Request
from hfhooks.http.passage import Passed, Site
from hfhooks.journal.sqlite.journal import Journal
from hfhooks.journal.sqlite.records import Delivery
from hfhooks.model.endpoint import PREFIX, Endpoint
from hfhooks.model.events import event_of, repo_of
from hfhooks.model.headers import (
    DELIVERY_HEADER,
    DISCARDED,
    HOP_HEADERS,
    OWN_HEADERS,
    REFUSED,
    REPLAY_HEADER,
    STATUS_HEADER,
    TOKEN_HEADER,
)
from hfhooks.redact import redact

__all__ = ["PROBES", "Gateway", "Reporter", "refused"]

MOST_UNFINISHED = 10_000
"""Deliveries that may wait for their handlers; the Hub sends 1,000 a day."""
PROBES = "/.hfhooks/"
"""Where requests come that look for this server, followed by a secret."""
WEBHOOK_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Reporter(Protocol):
    """Who is told what happens to deliveries."""

    def finished(self, outcome: Outcome) -> None:
        """A handler has run, for better or worse."""

    def ignored(self, delivery: Delivery, reason: str) -> None:
        """No handler wanted it."""

    def duplicate(self, delivery: Delivery) -> None:
        """The Hub has sent it before; the delivery is the earlier one."""

    def full(self, reason: str | None) -> None:
        """No delivery can be accepted, and why; None when they can be again."""

    def refused(self, path: str, status: int, word: str, hint: str | None) -> None:
        """Somebody sent an endpoint what it does not accept, and what that may mean."""


class Gateway:
    """Answers the requests of the public listener.

    `url` is where this machine reaches it, and `public_url` where everybody does; `host` is the
    address that is listened on; `wait` is how many seconds a sender is kept for the handler's own
    answer; `token` proves that a request comes from this machine's user; whoever finds an answer at
    `probe` has found this server and no other.
    """

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        reporter: Reporter,
        *,
        url: str,
        public_url: str | None = None,
        host: str = "127.0.0.1",
        wait: float,
        token: str,
        probe: str = PROBES,
        most_unfinished: int = MOST_UNFINISHED,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._probe = probe
        self._is_stopping = False
        self._is_full = False
        self._admission = Admission(now, host)
        self.reached_at(url, public_url)
        self._journal = journal
        self._dispatcher = dispatcher
        self._reporter = reporter
        self._wait = wait
        self._token = token
        self._most_unfinished = most_unfinished
        self._now = now
        self._endpoints: dict[str, Endpoint] = {}
        self._site: Site | None = None
        self._endpoints_known = asyncio.Event()

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
        self._endpoints = {endpoint.path: endpoint for endpoint in endpoints}
        self._site = site
        if are_all:
            self._endpoints_known.set()

    @property
    def endpoints(self) -> list[Endpoint]:
        """Those that deliveries are accepted for."""
        return list(self._endpoints.values())

    def stop(self) -> None:
        """Accept no further delivery."""
        self._is_stopping = True
        self._endpoints_known.set()

    def site_for(self, request: Request) -> Site | None:
        """Return the site that a request is for, None if it is for us."""
        site, path = self._site, request.path
        if site is None or path in ("/healthz", self._probe):
            return None
        is_theirs = site.has_page if path == "/" else self._find(path) is None
        return site if is_theirs else None

    async def respond(self, request: Request) -> Answer:
        """Return the answer to a request, and see to what it asks."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            # Of a 503 there may be thousands, and why is said once.
            if request.path in self._endpoints and refusal.status != 503:
                self._reporter.refused(request.path, refusal.status, refusal.word, refusal.hint)
            return refused(refusal)

    async def _answer(self, request: Request) -> Answer:
        if request.bad_head:
            raise request.bad_head
        if isinstance(request, Passed):  # and nobody is there to take it
            raise Refusal(503, "unavailable", {"retry-after": "5"})
        if request.path == "/":
            _check_method(request, "GET", "HEAD")
            return self._landing_page()
        if request.path == "/healthz":
            _check_method(request, "GET", "HEAD")
            return self._health(request)
        if request.path == self._probe:
            _check_method(request, "GET", "HEAD")
            return Answer(204, b"", ())
        endpoint = await self._endpoint_at(request.path)
        _check_method(request, "POST")
        is_owner = self._is_owner(request)
        if not is_owner:
            self._admission.check(request, endpoint)
        answer, delivery = await self._deliver(
            request, endpoint, is_replay=is_owner and REPLAY_HEADER in request.fields
        )
        return _for_owner(answer, delivery) if is_owner else answer

    async def _endpoint_at(self, path: str) -> Endpoint:
        if not path.startswith(PREFIX):
            raise Refusal(404, "not_found")
        if path not in self._endpoints and not self._endpoints_known.is_set():
            await self._wait_for_endpoints()
        if self._is_stopping:
            raise Refusal(503, "stopping", {"retry-after": "5"})
        if endpoint := self._find(path):
            return endpoint
        raise Refusal(404, "not_found")

    def _find(self, path: str) -> Endpoint | None:
        # huggingface_hub puts the prefix before a path that has it already.
        doubled = path.removeprefix(PREFIX.rstrip("/"))
        return self._endpoints.get(path) or self._endpoints.get(doubled)

    async def _wait_for_endpoints(self) -> None:
        try:
            await asyncio.wait_for(self._endpoints_known.wait(), self._wait)
        except TimeoutError:
            raise Refusal(503, "starting", {"retry-after": "5"}) from None

    async def _deliver(
        self, request: Request, endpoint: Endpoint, is_replay: bool
    ) -> tuple[Answer, Delivery]:
        if endpoint.takes_json:
            check_media_type(request.fields)
        body = await request.body()
        payload = _payload(body, endpoint)
        mismatch = endpoint.filter.mismatch(payload)
        event = event_of(payload)
        webhook_id = request.fields.get("webhook-id", "")
        delivery = Delivery(
            endpoint=endpoint.name,
            received_at=self._now(),
            query=without_secret(request.query),
            headers=tuple(request.headers),
            body=body,
            event=str(event) if event else None,
            repo=repo_of(payload),
            webhook_id=webhook_id if WEBHOOK_ID.fullmatch(webhook_id) else None,
            is_replay=is_replay,
            status="ignored" if mismatch else "queued",
        )
        delivery, outcome = await self._handle(delivery, mismatch)
        if self._journal.failure:
            raise Refusal(503, "unavailable", {"retry-after": "60"})
        return _answer_with(outcome) if outcome else _own_answer(delivery), delivery

    async def _handle(
        self, delivery: Delivery, mismatch: str | None
    ) -> tuple[Delivery, Outcome | None]:
        """Record a delivery; return it as it is then, and its outcome if that is in time."""
        has_turn = self._dispatcher.expect(delivery.endpoint)
        try:
            delivery = await self._record(delivery)
            if delivery.status == "duplicate":
                self._reporter.duplicate(delivery)
                return delivery, None
            if mismatch:
                self._reporter.ignored(delivery, mismatch)
                return delivery, None
            # Where it has to wait for others, so would its sender, and the next, and the next.
            first_outcome = self._dispatcher.submit(delivery, self._wait if has_turn else 0)
        finally:
            self._dispatcher.arrived(delivery.endpoint)
        outcome = await first_outcome
        return (outcome.delivery, outcome) if outcome else (delivery, None)

    async def _record(self, delivery: Delivery) -> Delivery:
        """Return the delivery once it is on disk. Raises `Refusal` when that cannot be."""
        try:
            if self._dispatcher.unfinished >= self._most_unfinished:
                raise JournalFull(f"{self._most_unfinished} deliveries wait for their handlers.")
            recorded = await self._journal.record(delivery)
        except JournalError as error:
            if isinstance(error, JournalFull) and not self._is_full:
                self._is_full = True
                self._reporter.full(str(error))
            raise Refusal(503, "unavailable", {"retry-after": "60"}) from error
        if self._is_full:
            self._is_full = False
            self._reporter.full(None)
        return recorded

    def _is_owner(self, request: Request) -> bool:
        given = request.fields.get(TOKEN_HEADER)
        return given is not None and is_one_of(given.encode("latin-1"), [self._token])

    def _health(self, request: Request) -> Answer:
        content: dict[str, Any] = {"status": "ready" if self._dispatcher.has_worker else "starting"}
        if self._is_owner(request):
            content["pid"] = os.getpid()
        return Answer(200 if self._dispatcher.has_worker else 503, json.dumps(content).encode())

    def _landing_page(self) -> Answer:
        from hfhooks.gateway.pages import landing_page  # Jinja2 waits for the first visitor

        url, is_public = self._public_url or self._url, self._public_url is not None
        html = landing_page(self.endpoints, url, is_public)
        return Answer(200, html.encode(), PAGE_HEADERS)


PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def _check_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, "method_not_allowed", {"allow": ", ".join(methods)})


def _payload(body: bytes, endpoint: Endpoint) -> dict[str, Any]:
    try:
        return json_object(body)
    except Refusal:
        if endpoint.takes_json:
            raise
        return {}


def refused(refusal: Refusal) -> Answer:
    """Return what its sender is told of a request that is not accepted."""
    body = b'{"error": "%b"}' % refusal.word.encode()
    return Answer(refusal.status, body, (JSON, *_encoded(refusal.headers)))


def _own_answer(delivery: Delivery, http_status: int | None = None) -> Answer:
    body = b'{"id": %d, "status": "%b"}' % (delivery.id, delivery.status.encode())
    is_open = delivery.status in ("queued", "retrying")
    return Answer(http_status or (202 if is_open else 200), body)


def _answer_with(outcome: Outcome) -> Answer:
    response, delivery = outcome.response, outcome.delivery
    if delivery.status == "retrying":
        return _own_answer(delivery)
    if response is not None and response.outcome is None:
        headers = tuple((name, value) for name, value in response.headers if _is_public(name))
        return Answer(response.status, response.body, headers)
    # The Hub suspends webhooks that answer 4xx or 5xx. A payload that does not fit the handler's
    # model is our failure, not the sender's; what is discarded need not be sent again.
    is_settled = response is not None and response.outcome in (REFUSED, DISCARDED)
    return _own_answer(delivery, 200 if is_settled else 500)


def _for_owner(answer: Answer, delivery: Delivery) -> Answer:
    """Return the answer as it is shown to the server's owner, with what only the owner is told."""
    own = {DELIVERY_HEADER: str(delivery.id), STATUS_HEADER: delivery.status}
    return Answer(answer.status, redact(answer.body), answer.headers + _encoded(own))


def _encoded(headers: Mapping[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


@lru_cache(maxsize=256)
def _is_public(header: bytes) -> bool:
    name = header.decode("latin-1")
    return name not in HOP_HEADERS and not name.startswith(OWN_HEADERS)
