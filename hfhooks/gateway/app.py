"""Check, record, answer: the public side of the gateway, as a plain ASGI app."""

import asyncio
import hmac
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote_plus

from hfhooks.endpoints import PREFIX, Endpoint
from hfhooks.errors import JournalError, JournalFull
from hfhooks.events import event_of, repo_of
from hfhooks.gateway.dispatch import HOP_HEADERS, Dispatcher, Outcome
from hfhooks.gateway.journal import Delivery, Journal
from hfhooks.gateway.limits import Refusal, check_media_type, json_object, read_body
from hfhooks.wire import (
    DELIVERY_HEADER,
    DISCARDED,
    OWN_HEADERS,
    REFUSED,
    SECRET_HEADER,
    STATUS_HEADER,
    TOKEN_HEADER,
)

__all__ = ["Gateway", "Reporter"]

MOST_UNFINISHED = 10_000
"""Deliveries that may wait for their handlers; the Hub sends 1,000 a day."""
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
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

    def refused(self, path: str, status: int, word: str) -> None:
        """Somebody sent an endpoint what it does not accept."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = ((b"content-type", b"application/json"),)

    @classmethod
    def of(cls, status: int, content: dict[str, Any], *headers: tuple[str, str]) -> "Answer":
        own = [("content-type", "application/json"), *headers]
        encoded = tuple((name.encode(), value.encode()) for name, value in own)
        return cls(status, json.dumps(content).encode(), encoded)


class Request:
    """An ASGI request, read as far as a decision about it needs."""

    def __init__(self, scope: dict[str, Any], receive: Callable[[], Any]) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers
        }
        self.query: str = scope["query_string"].decode("latin-1")
        self.receive = receive

    @property
    def secret(self) -> bytes | None:
        """The secret the sender gave, as the Hub documents it: a header, or in the URL."""
        given = self.headers.get(SECRET_HEADER)
        if given is None:
            pairs = parse_qsl(self.query, keep_blank_values=True, encoding="latin-1")
            given = dict(pairs).get("secret")
        return None if given is None else given.encode("latin-1")

    @property
    def query_without_secret(self) -> str:
        parts = self.query.split("&")
        return "&".join(p for p in parts if unquote_plus(p.partition("=")[0]) != "secret")


class Gateway:
    """The ASGI app behind the public listener.

    `wait` is how many seconds a sender is kept for the handler's own answer; `token` proves that a
    request comes from this machine's user.
    """

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        reporter: Reporter,
        *,
        url: str,
        wait: float,
        token: str,
        most_unfinished: int = MOST_UNFINISHED,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._is_stopping = False
        self._is_full = False
        self._journal = journal
        self._dispatcher = dispatcher
        self._reporter = reporter
        self._wait = wait
        self._token = token
        self._most_unfinished = most_unfinished
        self._now = now
        self._endpoints: dict[str, Endpoint] = {}
        self._endpoints_known = asyncio.Event()

    def publish(self, endpoints: Iterable[Endpoint]) -> None:
        """Accept deliveries for these endpoints from now on, and for no others."""
        self._endpoints = {endpoint.path: endpoint for endpoint in endpoints}
        self._endpoints_known.set()

    def stop(self) -> None:
        """Accept no further delivery."""
        self._is_stopping = True
        self._endpoints_known.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            if request.path in self._endpoints:
                self._reporter.refused(request.path, refusal.status, refusal.word)
            answer = Answer.of(refusal.status, {"error": refusal.word}, *refusal.headers.items())
        headers = list(answer.headers)
        if answer.status not in (204, 304):  # these have no body, nor a length of it
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, request: Request) -> Answer:
        if request.path == "/":
            _check_method(request, "GET", "HEAD")
            return self._landing_page()
        if request.path == "/healthz":
            _check_method(request, "GET", "HEAD")
            return self._health(request)
        endpoint = await self._endpoint_at(request.path)
        _check_method(request, "POST")
        is_owner = self._is_owner(request)
        if not is_owner and not _is_allowed(request, endpoint):
            raise Refusal(401, "unauthorized")
        return await self._deliver(request, endpoint, is_replay=is_owner)

    async def _endpoint_at(self, path: str) -> Endpoint:
        if not path.startswith(PREFIX):
            raise Refusal(404, "not_found")
        if not self._endpoints_known.is_set():
            await self._wait_for_endpoints()
        if self._is_stopping:
            raise Refusal(503, "stopping", {"retry-after": "5"})
        if path not in self._endpoints:
            raise Refusal(404, "not_found")
        return self._endpoints[path]

    async def _wait_for_endpoints(self) -> None:
        try:
            await asyncio.wait_for(self._endpoints_known.wait(), self._wait)
        except TimeoutError:
            raise Refusal(503, "starting", {"retry-after": "5"}) from None

    async def _deliver(self, request: Request, endpoint: Endpoint, is_replay: bool) -> Answer:
        if endpoint.takes_json:
            check_media_type(request.headers)
        body = await read_body(request.headers, request.receive)
        payload = _payload(body, endpoint)
        mismatch = endpoint.filter.mismatch(payload)
        event = event_of(payload)
        webhook_id = request.headers.get("webhook-id", "")
        delivery = Delivery(
            endpoint=endpoint.name,
            received_at=self._now(),
            query=request.query_without_secret,
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.raw_headers
            ),
            body=body,
            event=str(event) if event else None,
            repo=repo_of(payload),
            webhook_id=webhook_id if WEBHOOK_ID.fullmatch(webhook_id) else None,
            is_replay=is_replay,
            status="ignored" if mismatch else "queued",
        )
        answer, own_headers = await self._handle(delivery, mismatch)
        if self._journal.failure:
            raise Refusal(503, "unavailable", {"retry-after": "60"})
        return replace(answer, headers=answer.headers + own_headers) if is_replay else answer

    async def _handle(self, delivery: Delivery, mismatch: str | None) -> tuple[Answer, Headers]:
        """Record a delivery; return the answer to it, and what its owner is told beside."""
        with self._dispatcher.arriving(delivery.endpoint) as has_turn:
            delivery = await self._record(delivery)
            if delivery.status == "duplicate":
                self._reporter.duplicate(delivery)
                return _own_answer(200, delivery, "duplicate")
            if mismatch:
                self._reporter.ignored(delivery, mismatch)
                return _own_answer(200, delivery, "ignored")
            first_outcome = self._dispatcher.submit(delivery)
        # Where a delivery has to wait for others, so would its sender, and the next, and the next.
        outcome = await self._in_time(first_outcome) if has_turn else None
        return _answer_with(outcome) if outcome else _own_answer(202, delivery, "queued")

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

    async def _in_time(self, outcome: "asyncio.Future[Outcome | None]") -> Outcome | None:
        if self._wait == 0:
            return None
        try:
            async with asyncio.timeout(self._wait):
                return await outcome
        except TimeoutError:
            return None

    def _is_owner(self, request: Request) -> bool:
        given = request.headers.get(TOKEN_HEADER)
        return given is not None and _is_same(given.encode("latin-1"), self._token.encode())

    def _health(self, request: Request) -> Answer:
        content: dict[str, Any] = {"status": "ready" if self._dispatcher.has_worker else "starting"}
        if self._is_owner(request):
            content["pid"] = os.getpid()
        return Answer.of(200 if self._dispatcher.has_worker else 503, content)

    def _landing_page(self) -> Answer:
        from hfhooks.gateway.pages import landing_page  # Jinja2 waits for the first visitor

        html = landing_page(list(self._endpoints.values()), self._url)
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


def _is_allowed(request: Request, endpoint: Endpoint) -> bool:
    if endpoint.secret is None:
        return True
    # A missing secret takes the same path and time as a wrong one.
    return _is_same(request.secret or b"", endpoint.secret.encode())


def _is_same(given: bytes, expected: bytes) -> bool:
    # Digests, so that neither length nor non-ASCII bytes make a difference.
    return hmac.compare_digest(sha256(given).digest(), sha256(expected).digest())


def _payload(body: bytes, endpoint: Endpoint) -> dict[str, Any]:
    try:
        return json_object(body)
    except Refusal:
        if endpoint.takes_json:
            raise
        return {}


def _own_answer(http_status: int, delivery: Delivery, status: str) -> tuple[Answer, Headers]:
    answer = Answer.of(http_status, {"id": delivery.id, "status": status})
    return answer, _own_headers(delivery, status)


def _answer_with(outcome: Outcome) -> tuple[Answer, Headers]:
    response, delivery = outcome.response, outcome.delivery
    if delivery.status == "retrying":
        return _own_answer(202, delivery, "retrying")
    if response is not None and response.outcome is None:
        headers = tuple((name, value) for name, value in response.headers if _is_public(name))
        own = _own_headers(delivery, delivery.status)
        return Answer(response.status, response.body, headers), own
    # The Hub suspends webhooks that answer 4xx or 5xx. A payload that does not fit the handler's
    # model is our failure, not the sender's; what is discarded need not be sent again.
    is_settled = response is not None and response.outcome in (REFUSED, DISCARDED)
    return _own_answer(200 if is_settled else 500, delivery, delivery.status)


def _own_headers(delivery: Delivery, status: str) -> Headers:
    return (
        (DELIVERY_HEADER.encode(), str(delivery.id).encode()),
        (STATUS_HEADER.encode(), status.encode()),
    )


def _is_public(header: bytes) -> bool:
    name = header.decode("latin-1")
    return name not in HOP_HEADERS and not name.startswith(OWN_HEADERS)
