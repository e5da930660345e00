"""Masks secrets in every text that leaves a process."""

import atexit
import json
import os
import re
from contextlib import suppress
from threading import get_ident
from typing import TextIO, TypeVar
from urllib.parse import quote, quote_plus

__all__ = ["ENVIRONMENT", "MASK", "Redactor", "redact"]

T = TypeVar("T", str, bytes)

ENVIRONMENT = (
    "WEBHOOK_SECRET",
    "WEBHOOK_SECRET_PREVIOUS",
    "NGROK_AUTHTOKEN",
    "NGROK_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)
"""Variables that hold secrets."""
HUB_TOKEN = "hf_[A-Za-z0-9]{20,}"  # noqa: S105 # the form of one
MASK = "***"
SHORTEST = 8
"""Characters of a secret; a shorter one is no secret, and may stand in any text."""

MOST_HELD = 65_536
"""Characters of a line that are held until there is more of it."""
NESTED = 3
"""Times that a text is quoted within another."""


class Redactor:
    """Puts `***` in the place of the secrets it knows, and of what looks like a Hub token."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._compile()

    def __call__(self, text: T) -> T:
        """Return the text without secrets."""
        if isinstance(text, str):
            return self._in_text.sub(MASK, text)
        return self._in_bytes.sub(MASK.encode(), text)

    def learn(self, *secrets: str) -> None:
        """Mask these from now on, however they are written."""
        long = (secret.strip() for secret in secrets if len(secret.strip()) >= SHORTEST)
        forms = {form for secret in long for form in _forms(secret)}
        if not forms <= self._forms:
            self._forms |= forms
            self._compile()

    def learn_environment(self) -> None:
        """Mask what the environment holds of secrets."""
        self.learn(*(os.environ.get(name, "") for name in ENVIRONMENT))

    def guard(self, stream: TextIO) -> None:
        """Mask whatever is written to a stream, which stays what it is in all other respects.

        `print` writes a line in two parts, and handlers run side by side: each thread's are held
        until the line is whole, or is flushed.
        """
        write, flush = stream.write, stream.flush
        held: dict[int, str] = {}

        def write_masked(text: str) -> int:
            if not held and text.endswith("\n"):  # as most of it does
                write(self(text))
                return len(text)
            thread = get_ident()
            lines, newline, rest = (held.pop(thread, "") + text).rpartition("\n")
            if len(rest) > MOST_HELD:
                lines, newline, rest = lines + newline + rest, "", ""
            if rest:
                held[thread] = rest
            if lines or newline:
                write(self(lines + newline))
            return len(text)

        def flush_masked() -> None:
            if rest := held.pop(get_ident(), ""):
                write(self(rest))
            flush()

        def write_rest() -> None:
            with suppress(OSError, ValueError):  # it is closed: nobody reads it any more
                for rest in held.values():
                    write(self(rest))

        stream.write = write_masked  # type: ignore[method-assign] # print() and logging call it
        stream.flush = flush_masked  # type: ignore[method-assign]
        atexit.register(write_rest)

    def _compile(self) -> None:
        # The longest first: one secret may begin with another.
        known = sorted(map(re.escape, self._forms), key=len, reverse=True)
        pattern = "|".join([*known, HUB_TOKEN])
        self._in_text = re.compile(pattern)
        self._in_bytes = re.compile(pattern.encode(errors="surrogateescape"))


def _forms(secret: str) -> set[str]:
    """Return how a secret may be written: as it is, in JSON, in a `repr`, in a URL."""
    forms = {secret}
    for _ in range(NESTED):
        forms |= {write(form)[1:-1] for form in forms for write in (json.dumps, repr)}
    for encode in (quote, quote_plus):
        for safe in ("", "/"):
            encoded = encode(secret, safe, errors="surrogateescape")
            forms |= {encoded, re.sub("%..", lambda escape: escape[0].lower(), encoded)}
    return forms


redact = Redactor()
"""What every text of this process passes before it leaves."""
redact.learn_environment()
