"""What the values of settings may be, as text or as TOML has them.

Each function returns the value that is meant, or raises `ValueError` with what is wrong about it.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from hfhooks.model.headers import MOST_BODY

__all__ = [
    "Read",
    "domain",
    "list_of",
    "number",
    "one_of",
    "path",
    "public_url",
    "size",
    "switch",
    "text",
    "whole",
]

T = TypeVar("T")
Read: TypeAlias = Callable[[Any], T]
"""Returns what a value means. Raises `ValueError`."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
SIZE = re.compile(rf"({NUMBER.pattern})\s*([a-z]*)", re.IGNORECASE)
UNITS = {"": 1, "b": 1} | {
    f"{letter}{ending}": base**power
    for power, letter in enumerate("kmgtpe", 1)
    for ending, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
WORDS = dict.fromkeys(("true", "yes", "on", "1"), True)
WORDS |= dict.fromkeys(("false", "no", "off", "0"), False)
URL = re.compile(
    r"(?P<scheme>https?://)(?P<host>[\w.-]+|\[[0-9a-f:.]+\])"
    r"(?P<rest>(:(?P<port>[0-9]{1,5}))?(?a:/[\w.~%/+@=,:-]*)?)",
    re.IGNORECASE,
)
"""Of what neither a terminal nor a shell takes for more than text."""
MOST_PORT = 65535
MOST_URL = 512
"""Characters of one to which paths can be added."""
NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


def text(value: Any) -> str:
    """Return text."""
    if not isinstance(value, str):
        raise ValueError("text is needed")
    return value


def switch(value: Any) -> bool:
    """Return whether something is to be."""
    if isinstance(value, bool):
        return value
    try:
        return WORDS[str(value).strip().lower()]
    except KeyError:
        raise ValueError("true or false is needed") from None


def number(
    what: str, least: float = 0, most: float = inf, above: float | None = None
) -> Read[float]:
    """Have a finite number read, which is within these bounds; `what` it is of."""

    def read(value: Any) -> float:
        number = _number(value, f"{what} is a number")
        if above is not None and number <= above:
            raise ValueError(f"{what} is more than {above:g}")
        if number < least:
            raise ValueError(f"{what} is at least {least:g}")
        if number > most:
            raise ValueError(f"{what} is at most {most:g}")
        return number

    return read


def whole(what: str, least: float = 0, most: float = inf) -> Read[int]:
    """Have a whole number read."""
    read_any = number(what, least, most)

    def read(value: Any) -> int:
        found = read_any(value)
        if found != int(found):
            raise ValueError(f"{what} is a whole number")
        return int(found)

    return read


def size(value: Any) -> int:
    """Return bytes, which may be given with a unit, as in 1MiB or 10MB."""
    needed = "a size such as 65536, 1MiB or 10MB is needed"
    unit = ""
    if isinstance(value, str):
        if not (found := SIZE.fullmatch(value.strip())) or found[4].lower() not in UNITS:
            raise ValueError(needed)
        value, unit = found[1], found[4].lower()
    bytes = int(_number(value, needed) * UNITS[unit])
    if not 0 < bytes <= MOST_BODY:
        raise ValueError(f"a size from 1 byte to {MOST_BODY >> 20}MiB is needed")
    return bytes


def path(value: Any) -> Path:
    """Return a path."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ValueError("a path is needed")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # whose home that is, nobody knows
        raise ValueError(str(error)) from error


def list_of(read: Read[T]) -> Read[list[T]]:
    """Have several read, which may be text: a JSON list."""

    def read_all(value: Any) -> list[T]:
        with suppress(ValueError):
            value = json.loads(value) if isinstance(value, str) else value
        if not isinstance(value, list | tuple):
            raise ValueError('a JSON list is needed, such as ["labels.json"]')
        return [read(each) for each in value]

    return read_all


def one_of(*words: str) -> Read[str]:
    """Have one of these words read."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)} is needed")
        return str(value)

    return read


def domain(value: Any) -> str:
    """Return the name of a machine, without what a URL has before and after it."""
    if not NAME.fullmatch(text(value)):
        raise ValueError("a name such as my-hooks.ngrok-free.dev is needed")
    return text(value)


def public_url(value: Any) -> str:
    """Return a URL to which paths can be added."""
    found = URL.fullmatch(text(value))
    if not found or int(found["port"] or 0) > MOST_PORT or len(found[0]) > MOST_URL:
        raise ValueError("a URL such as https://hooks.example.com is needed")
    host = found["host"]
    try:  # as a header has it
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError("a URL is needed whose host is a name") from error
    return f"{found['scheme']}{host}{found['rest']}".rstrip("/")


def _number(value: Any, needed: str) -> float:
    """Return a finite number. Raises `ValueError` with what is `needed`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and NUMBER.fullmatch(value.strip())):
        with suppress(OverflowError):
            if isfinite(number := float(value)):
                return number
    raise ValueError(needed)
