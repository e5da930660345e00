"""Why an answer cannot be sent, of a handler that has ended well. No FastAPI here."""

import sys
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any

from hfhooks.model.ending import UNSENDABLE, Ending
from hfhooks.tracebacks import bounded, users_text

__all__ = ["MISSING", "unsendable"]

MISSING = object()
"""Stands for a value that is not known."""
MOST_LOOKED_AT = 100_000
"""Values within one that are looked at; it is the event loop that waits."""


def unsendable(error: BaseException, value: Any = MISSING) -> Ending:
    """Return how a call has ended that has returned a value, after which this was raised.

    >>> unsendable(ValueError("no JSON"), {"loss": {"eval": float("nan")}}).body
    b'loss.eval is nan'
    """
    is_response = callable(value)  # which is to send itself, and not to be JSON
    text = (not is_response and next(_found(value), "")) or _said_by(error)
    return Ending(UNSENDABLE, 200, body=bounded(text).encode("utf-8", "backslashreplace"))


def _said_by(error: BaseException) -> str:
    kind = type(error).__name__
    text = users_text(error)
    return f"{kind}: {text}" if text else kind


def _found(value: Any) -> Iterator[str]:
    """Yield each value within one that no JSON can hold, with its place, but not all of many."""
    if value is MISSING:
        return
    waiting: list[tuple[str, Any, tuple[int, ...]]] = [("", value, ())]
    for _ in range(MOST_LOOKED_AT):
        if not waiting:
            return
        place, each, around = waiting.pop()
        name = place or "the answer"
        if id(each) in around:
            yield f"{name} contains itself"
        elif _is_leaf(each):
            if fault := _fault(each):
                yield f"{name} {fault}"
        else:
            try:
                inner = _inner(place, each)
            except Exception:  # noqa: BLE001 # its class is the user's
                yield f"{name} is of type {_name(type(each))}, which is no JSON"
            else:
                within = (*around, id(each))
                waiting += [(where, part, within) for where, part in reversed(inner)]


def _is_leaf(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _inner(place: str, value: Any) -> list[tuple[str, Any]]:
    """Return what a value has in it, or what FastAPI makes of it. Raises where that is nothing."""
    if isinstance(value, Mapping):
        return [(f"{place}.{key}" if place else str(key), part) for key, part in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"{place}[{number}]", part) for number, part in enumerate(value)]
    if isinstance(value, Iterator) or "fastapi" not in sys.modules:  # it can be used up but once
        return []
    from fastapi.encoders import jsonable_encoder

    return [(place, jsonable_encoder(value))]


def _fault(value: Any) -> str | None:
    """Return what is wrong with a value that has no others in it."""
    if isinstance(value, float) and not isfinite(value):
        return f"is {float(value)}"
    if isinstance(value, str) and not _is_taken(value.encode):
        return "has half of a character in it"
    if isinstance(value, bytes) and not _is_taken(value.decode):
        return "is bytes that are no text"
    return None


def _name(kind: type[Any]) -> str:
    is_known = kind.__module__ in ("builtins", "__main__")
    return kind.__qualname__ if is_known else f"{kind.__module__}.{kind.__qualname__}"


def _is_taken(convert: Callable[[], object]) -> bool:
    try:
        convert()
    except UnicodeError:
        return False
    return True
