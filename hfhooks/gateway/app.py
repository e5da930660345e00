"""Check, record, answer: what the gateway does about a request."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from math import inf
from typing import Any

from hfhooks.gateway.admission import Admission
from hfhooks.gateway.exchange import Exchange
from hfhooks.gateway.health import health
from hfhooks.gateway.kept import Kept
from hfhooks.gateway.paths import STARTING, Paths
from hfhooks.gateway.turned_away import TurnedAway
from hfhooks.http.limits import MOST_CONNECTIONS
from hfhooks.http.messages import Answer, Request, json_answer, refused
from hfhooks.http.passage import Passed, Site
from hfhooks.journal import Journal
from hfhooks.model.condition import Condition
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Happening, Refused
from hfhooks.model.headers import TOKEN_HEADER
from hfhooks.model.host import Host
from hfhooks.model.receive import check_media_type
from hfhooks.model.refusal import Refusal
from hfhooks.secret import is_one_of

__all__ = ["PROBES", "Gateway"]

PROBES = "/.hfhooks/"
"""Where requests come that look for this server, followed by a secret."""
HEALTH = (HEALTHY, READY) = "/healthz", "/readyz"
"""Where balancers look for whether deliveries are recorded, and people whether they are handled."""
MISSED_EVERY = 60.0
"""Seconds between two words on senders that may have meant another path."""
PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Gateway:
    """Answers the requests of the public listener.

    `host` calls the handlers; `why_idle` says why it cannot. `url` is where this machine reaches
    us, and `public_url` where everybody does; `address` is what is listened on; `wait` is how many
    seconds a sender is kept for the handler's own answer, `most_kept` how many are at once; `token`
    proves that a request comes from this machine's user; whoever finds an answer at `probe` has
    found this server and no other.
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
        most_kept: int = MOST_CONNECTIONS // 2,
        token: str,
        probe: str = PROBES,
        why_idle: Callable[[], str | None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._probe = probe
        self._admission = Admission(now, address)
        self.reached_at(url, public_url)
        self.journal, self.host, self.tell, self.now = journal, host, tell, now
        self.turned_away = TurnedAway(tell)
        self.kept = Kept(wait, most_kept)
        self._missed_at = -inf
        """When it was said last which endpoint a sender may have meant."""
        self._token = token
        self._why_idle = why_idle
        self.paths = Paths((*HEALTH, probe), wait)

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

    def journal_became(self, condition: Condition) -> None:
        """Say that deliveries are refused while the journal is away, and when it is back."""
        if condition.state == "away":
            self.turned_away.begin(str(condition.error))
        elif condition.state == "healthy":
            self.turned_away.end(None)

    def stop(self) -> None:
        """Accept no further delivery."""
        self.paths.stop()

    def respond(self, request: Request) -> None:
        """See to what a request asks, and answer it, now or later."""
        self.take_step(request, self._begin, request)

    def take_step(self, request: Request, step: Callable[..., None], *args: Any) -> None:
        """Take a step towards an answer; whatever it raises is answered."""
        try:
            step(*args)
        except Refusal as refusal:
            self.refuse(request, refusal)
        except Exception as error:  # noqa: BLE001 # of this request alone
            request.fail(error)

    def refuse(self, request: Request, refusal: Refusal) -> None:
        """Answer that a request is not accepted."""
        request.answer(refused(refusal))
        # Of a 503 there may be thousands, and why is said once.
        if self.paths.is_endpoint(request.path) and refusal.status != 503:
            self.tell(Refused(request.path, refusal.status, refusal.word, refusal.hint))
        elif refusal.status == 404 and request.method == "POST":
            self._tell_of_a_miss(request.path)

    def _tell_of_a_miss(self, path: str) -> None:
        """Say, once a minute at most, which endpoint a sender may have meant."""
        now = self.now()
        if 0 <= now - self._missed_at < MISSED_EVERY or not (nearest := self.paths.nearest(path)):
            return
        self._missed_at = now
        self.tell(Refused(path, 404, "not_found", f"{path} is no endpoint; {nearest} is one."))

    def _begin(self, request: Request) -> None:
        if request.bad_head:
            raise request.bad_head
        if isinstance(request, Passed):  # and nobody is there to take it
            raise Refusal(503, "unavailable", STARTING)
        if self.paths.may_appear(request.path):
            self.paths.when_known(partial(self.take_step, request, self._admit, request))
        elif answer := self._own_answer(request):
            request.answer(answer)
        else:
            self._admit(request)

    def _admit(self, request: Request) -> None:
        """Look at the head of a delivery, and go on when its body is there."""
        endpoint = self.paths.endpoint_at(request.path)
        _check_method(request, "POST")
        is_owner = self._is_owner(request)
        if not is_owner:
            self._admission.check(request, endpoint)
        check_media_type(endpoint, request.fields)
        request.read(Exchange(self, request, endpoint, is_owner).record)

    def _own_answer(self, request: Request) -> Answer | None:
        """Return what we say ourselves, None where that is up to an endpoint."""
        if request.path not in ("/", *HEALTH, self._probe):
            return None
        _check_method(request, "GET", "HEAD")
        if request.path == "/":
            return self._landing_page()
        return self._health(request) if request.path in HEALTH else Answer(204, b"", ())

    def _is_owner(self, request: Request) -> bool:
        given = request.fields.get(TOKEN_HEADER)
        return given is not None and is_one_of(given.encode("latin-1"), [self._token])

    def _health(self, request: Request) -> Answer:
        found = health(self.journal, self.paths, self._why_idle())
        content: dict[str, Any] = asdict(found)
        if self._is_owner(request):
            content["pid"] = os.getpid()
        is_well = found.records and (found.runs or request.path == HEALTHY)
        return json_answer(content, 200 if is_well else 503)

    def _landing_page(self) -> Answer:
        from hfhooks.gateway.landing import landing_page  # Jinja2 waits for the first visitor

        url, is_public = self._public_url or self._url, self._public_url is not None
        html = landing_page(self.paths.endpoints, url, is_public)
        return Answer(200, html.encode(), PAGE_HEADERS)


def _check_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, "method_not_allowed", {"allow": ", ".join(methods)})
