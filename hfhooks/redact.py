"""Masks secrets in every text that leaves a process."""

import atexit
import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from threading import get_ident
from typing import Any, TextIO, TypeVar
from urllib.parse import quote, quote_plus, unquote_plus

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

MOST_PASSING = 100
"""Values of the environment that are masked beside the lasting secrets, the newest ones."""
MOST_HEADERS = 64
"""Values of headers that are known to be without secrets."""
MOST_HELD = 65_536
"""Characters of a line that are held until there is more of it."""
NESTED = 3
"""Times that a text is quoted within another."""


class Redactor:
    """Puts `***` in the place of the secrets it knows, and of what looks like a Hub token."""

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._passing: deque[frozenset[str]] = deque(maxlen=MOST_PASSING)
        self._known: tuple[str, ...] | None = None
        """What the patterns were made of."""
        self._follows = False
        self._compile()

    def __call__(self, text: T) -> T:
        """Return the text without secrets."""
        if isinstance(text, str):
            return self._in_text.sub(MASK, text)
        return self._in_bytes.sub(MASK.encode(), text)

    def learn(self, *secrets: str) -> None:
        """Mask these from now on, however they are written."""
        forms = _forms_of(secrets)
        if not forms <= self._lasting:
            self._lasting |= forms
            self._compile()

    def learn_passing(self, secret: str) -> None:
        """Mask one that may be followed by any number of others, for as long as it is new."""
        forms = _forms_of([secret])
        if forms and forms not in self._passing and not forms <= self._lasting:
            self._passing.append(forms)
            self._compile()

    def learn_environment(self) -> None:
        """Mask what the environment holds of secrets."""
        self.learn(*(os.environ.get(name, "") for name in ENVIRONMENT))

    def follow_environment(self, heard: Callable[[str], None] = lambda _: None) -> None:
        """Mask what the environment holds of secrets, from the moment at which it is put there.

        `heard` gets each, whatever thread it is.
        """
        self.learn_environment()
        if self._follows:
            return
        self._follows = True

        def hear(event: str, args: tuple[Any, ...]) -> None:
            if event == "os.putenv":
                name, value = map(os.fsdecode, args)
                if name in ENVIRONMENT:
                    self.learn_passing(value)
                    heard(value)

        sys.addaudithook(hear)

    def query(self, query: str) -> str:
        """Return a URL's query without secrets, whatever characters of them are encoded."""
        if not query:
            return query
        parts = self(query).split("&")
        return "&".join(self._part(part) if "%" in part or "+" in part else part for part in parts)

    def _part(self, part: str) -> str:
        read = unquote_plus(part, encoding="latin-1")
        return part if self(read) == read else MASK

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
        # Any thread may learn a secret meanwhile, and its pattern must not be lost.
        while (known := tuple(self._all())) != self._known:
            # The longest first: one secret may begin with another.
            forms = sorted(map(re.escape, known), key=len, reverse=True)
            pattern = "|".join([*forms, HUB_TOKEN])
            self._in_text = re.compile(pattern)
            self._in_bytes = re.compile(pattern.encode(errors="surrogateescape"))
            # What senders say of themselves is the same again and again.
            self.header = lru_cache(MOST_HEADERS)(partial(self._in_text.sub, MASK))
            """Return the value of a header without secrets."""
            self._known = known

    def _all(self) -> Iterator[str]:
        yield from tuple(self._lasting)
        for forms in tuple(self._passing):
            yield from forms


def _forms_of(secrets: Iterable[str]) -> frozenset[str]:
    """Return how these may be written, those of them that are long enough."""
    long = (secret.strip() for secret in secrets if len(secret.strip()) >= SHORTEST)
    return frozenset(form for secret in long for form in _forms(secret))


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
