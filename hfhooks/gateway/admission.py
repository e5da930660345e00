"""Whom an endpoint lets in: senders that know its secret; without one, no page of a stranger."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from urllib.parse import parse_qsl

from hfhooks.http.messages import Request
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.headers import SECRET_HEADER
from hfhooks.model.refusal import Refusal
from hfhooks.secret import is_one_of

__all__ = ["Admission", "Closed"]

PARAMETER = "secret"
SIGNATURE = re.compile(r"sha256=[0-9A-Fa-f]+|[0-9A-Fa-f]{64}")
SIGNATURE_HEADER = "x-hub-signature-256"
"""Where GitHub, and who copies it, signs."""
SUSPICIOUS = 3
"""Wrong secrets in a row after which the fault may be on our side."""
HINT_EVERY = 60.0
"""Seconds."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ORIGIN = re.compile(r"(https?)://(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::([0-9]{1,5}))?")
FROM_BROWSERS = {"origin", "sec-fetch-site"}
"""Headers that only browsers send."""
PORTS = {"http": 80, "https": 443}


class Admission:
    """Compares secrets, and guesses what the wrong ones mean.

    `now` tells seconds, `address` is what is listened on. A page may post to an endpoint
    without a secret if it comes from this machine, from that address or from the `public_url`.
    """

    def __init__(self, now: Callable[[], float], address: str = "127.0.0.1") -> None:
        self.public_url: str | None = None
        self._now = now
        self._hosts = LOOPBACK | {address.lower()}
        self._wrong: Counter[str] = Counter()
        """How many in a row, for each endpoint."""
        self._hinted_at: dict[str, float] = {}

    def check(self, request: Request, endpoint: Endpoint) -> None:
        """Admit who knows a secret of the endpoint, or if it has none all but strangers' pages.

        Raises `Refusal`, the same for a missing secret as for a wrong one.
        """
        if not endpoint.secrets:
            self._check_page(request, endpoint)
            return
        given = _given_secret(request)
        if not is_one_of((given or "").encode("latin-1"), endpoint.secrets):
            raise Refusal(401, "unauthorized", hint=self._hint(request, given, endpoint))
        self._wrong.pop(endpoint.name, None)

    def _check_page(self, request: Request, endpoint: Endpoint) -> None:
        """Refuse what a browser sends for a page of somebody else.

        Any page may send some kinds of request to this machine, or to a name that has come to mean
        this machine, which is why the request's own `Host` proves nothing.
        """
        if not request.fields.keys() & FROM_BROWSERS:
            return
        origins = [value for name, value in request.headers if name == "origin"]
        is_strange = request.fields.get("sec-fetch-site", "").lower() == "cross-site"
        if is_strange or not all(map(self._is_ours, origins)):
            hint = (
                f"a page in a browser posted to {endpoint.path}, which has no secret, and was "
                "refused. To let in who knows a secret, wherever it is: set WEBHOOK_SECRET."
            )
            raise Refusal(403, "forbidden", hint=hint if self._is_due(hint) else None)

    def _is_ours(self, origin: str) -> bool:
        found = _origin(origin)
        if found is None:  # or `null`, as of a page in a sandbox
            return False
        public = "/".join((self.public_url or "").split("/")[:3])  # it may have a path
        return found[1] in self._hosts or found == _origin(public)

    def _hint(self, request: Request, given: str | None, endpoint: Endpoint) -> str | None:
        """Return what the server's owner should know now, if anything."""
        self._wrong[endpoint.name] += given is not None
        if _is_signed(request, given, endpoint):
            hint = (
                f"a sender to {endpoint.path} signs what it sends. The Hub signs nothing: it sends "
                "the secret itself, as X-Webhook-Secret."
            )
        elif given is not None and self._wrong[endpoint.name] >= SUSPICIOUS:
            hint = (
                f"{SUSPICIOUS} wrong secrets in a row for {endpoint.path}: the webhook on the Hub "
                "may have another one. To see to it: https://huggingface.co/settings/webhooks"
            )
        else:
            return None
        return hint if self._is_due(hint) else None

    def _is_due(self, hint: str) -> bool:
        now = self._now()
        is_due = not 0 <= now - self._hinted_at.get(hint, -inf) < HINT_EVERY
        if is_due:
            self._hinted_at[hint] = now
        return is_due


class Closed:
    """Endpoints that have had a secret.

    A file or a variable that is gone for a moment must not let everybody in.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[str, ...]] = {}
        """The last ones that each endpoint had, also one that has vanished."""

    def keep(self, endpoints: Iterable[Endpoint]) -> tuple[list[Endpoint], list[str]]:
        """Return a new version's endpoints, closed if they were, and the paths of those that it
        would have opened.
        """
        endpoints = list(endpoints)
        self._secrets |= {each.name: each.secrets for each in endpoints if each.secrets}
        opened = [each for each in endpoints if not each.secrets and each.name in self._secrets]
        closed = [replace(each, secrets=self._secrets.get(each.name, ())) for each in endpoints]
        return closed, [each.path for each in opened]


def _origin(text: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin, None where it is no origin of a page."""
    found = ORIGIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, name, address, port = found.groups()
    return scheme, name or address, int(port or PORTS[scheme])


def _given_secret(request: Request) -> str | None:
    """Return the secret the sender gave, as the Hub documents it: a header, or in the URL.

    Each character is a byte. Raises `Refusal` for two of them, which would mean two things.
    """
    if SECRET_HEADER in request.fields:
        return request.fields[SECRET_HEADER]
    pairs = parse_qsl(request.query, keep_blank_values=True, encoding="latin-1")
    values = [value for name, value in pairs if name == PARAMETER]
    if len(values) > 1:
        raise Refusal(400, "bad_request")
    return values[0] if values else None


def _is_signed(request: Request, given: str | None, endpoint: Endpoint) -> bool:
    """Tell whether the sender seems to think that secrets are for signing."""
    has_own_form = any(map(SIGNATURE.fullmatch, endpoint.secrets))
    is_signature = not has_own_form and SIGNATURE.fullmatch(given or "")
    return bool(is_signature) or SIGNATURE_HEADER in request.fields
