"""Whom an endpoint lets in: senders that know its secret."""

import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from math import inf
from urllib.parse import parse_qsl, unquote_plus

from hfhooks.endpoints import Endpoint
from hfhooks.gateway.limits import Refusal
from hfhooks.gateway.message import Request
from hfhooks.wire import SECRET_HEADER

__all__ = ["Admission", "is_one_of", "without_secret"]

PARAMETER = "secret"
SIGNATURE = re.compile(r"sha256=[0-9A-Fa-f]+|[0-9A-Fa-f]{64}")
SIGNATURE_HEADER = "x-hub-signature-256"
"""Where GitHub, and who copies it, signs."""
SUSPICIOUS = 3
"""Wrong secrets in a row after which the fault may be on our side."""
HINT_EVERY = 60.0
"""Seconds."""


class Admission:
    """Compares secrets, and guesses what the wrong ones mean; `now` tells seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._wrong: Counter[str] = Counter()
        """How many in a row, for each endpoint."""
        self._hinted_at: dict[str, float] = {}

    def check(self, request: Request, endpoint: Endpoint) -> None:
        """Let in who knows a secret of the endpoint, or anybody if it has none.

        Raises `Refusal`, the same for a missing secret as for a wrong one.
        """
        if not endpoint.secrets:
            return
        given = _given_secret(request)
        if not is_one_of((given or "").encode("latin-1"), endpoint.secrets):
            raise Refusal(401, "unauthorized", hint=self._hint(request, given, endpoint))
        self._wrong.pop(endpoint.name, None)

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


def is_one_of(given: bytes, secrets: Iterable[str]) -> bool:
    """Compare with all of them, in a time that says nothing about any."""
    # Digests, so that neither length nor non-ASCII bytes make a difference.
    digest = sha256(given).digest()
    known = [sha256(secret.encode()).digest() for secret in secrets]
    matches = [hmac.compare_digest(digest, other) for other in known]
    return any(matches)


def without_secret(query: str) -> str:
    """Return a query as it may be recorded."""
    parts = query.split("&")
    return "&".join(p for p in parts if unquote_plus(p.partition("=")[0]).lower() != PARAMETER)


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
