"""What can be a webhook's secret, and which ones the environment names."""

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from hfhooks.errors import SecretError
from hfhooks.redact import redact

__all__ = ["advice", "checked_secret", "environment_secrets", "is_one_of"]

CURRENT, PREVIOUS = "WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS"
LINE_BREAK = re.compile(r"\r?\n\Z")
LONG_ENOUGH = 16
"""Characters of a secret that nobody guesses."""


def environment_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets that the environment names, the current one first.

    Raises `SecretError` for one that cannot protect anything.
    """
    named = [checked_secret(environ[name], name) for name in (CURRENT, PREVIOUS) if name in environ]
    if PREVIOUS in environ and CURRENT not in environ:
        help = f"Set {CURRENT} to the new secret, or unset {PREVIOUS}."
        raise SecretError(f"{PREVIOUS} is set and {CURRENT} is not.", help)
    return tuple(dict.fromkeys(named))


def checked_secret(secret: str, source: str) -> str:
    """Return the secret if it can protect an endpoint, without a file's last line break.

    From now on it is masked wherever it would be shown. Raises `SecretError` if it cannot.
    """
    secret = LINE_BREAK.sub("", secret)
    if not secret.strip():
        raise SecretError(f"{source} is empty.", help="Give it a value, or unset it.")
    if not secret.isprintable() or secret != secret.strip():
        what = "begins or ends with a space, or has a line break or a control character"
        raise SecretError(f"{source} {what}: no header can carry it.")
    if not secret.isascii():
        # https://huggingface.co/docs/hub/webhooks#webhook-secret
        raise SecretError(f"{source} is not ASCII.", help="The Hub sends ASCII secrets only.")
    redact.learn(secret)
    return secret


def advice(environ: Mapping[str, str], secrets: Iterable[str]) -> Iterator[str]:
    """Yield what a person should know of the environment's secrets, and of those in force."""
    for name in (CURRENT, PREVIOUS):
        if LINE_BREAK.search(environ.get(name, "")):
            yield f"{name} ends with a line break, which is left out."
    if any(len(secret) < LONG_ENOUGH for secret in secrets):
        yield (
            f"a webhook secret of fewer than {LONG_ENOUGH} characters can be guessed. To make a "
            'safer one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )


def is_one_of(given: bytes, secrets: Iterable[str]) -> bool:
    """Compare with all of them, in a time that says nothing about any."""
    # Digests, so that neither length nor non-ASCII bytes make a difference.
    digest = sha256(given).digest()
    known = [sha256(secret.encode()).digest() for secret in secrets]
    matches = [hmac.compare_digest(digest, other) for other in known]
    return any(matches)
