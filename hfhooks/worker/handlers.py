"""Handlers as coroutine functions, which are called with values by name. No FastAPI here."""

import asyncio
import inspect
import logging
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from hfhooks.script.registry import Handler

__all__ = ["bound", "call_of", "generates"]

LOOK_EVERY = 0.05
"""Seconds between two looks whether a handler has ended that was cancelled."""
log = logging.getLogger(__name__)


def call_of(handler: Handler) -> Handler:
    """Return a coroutine function that calls a handler: `def` in a thread, as FastAPI does."""
    return _awaiting(handler) if _is_async(handler) else _in_thread(handler)


def _awaiting(handler: Handler) -> Handler:
    async def call(**values: Any) -> Any:
        return _answer(handler, await handler(**values))

    return call


def _in_thread(handler: Handler) -> Handler:
    from anyio.to_thread import run_sync  # which nothing else needs

    def in_thread(values: dict[str, Any], run: _Run) -> Any:
        run.has_begun = True
        try:
            return None if run.is_cancelled else handler(**values)
        except (StopIteration, GeneratorExit) as error:  # which no coroutine can carry
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error
        finally:
            run.is_over = True

    async def call(**values: Any) -> Any:
        run = _Run()
        try:
            value = await run_sync(in_thread, values, run)
        except asyncio.CancelledError:
            run.is_cancelled = True
            while run.has_begun and not run.is_over:  # nobody can take its thread from it
                await asyncio.sleep(LOOK_EVERY)
            raise
        if inspect.isawaitable(value):  # from a `def` that wraps an `async def`
            value = await value
        return _answer(handler, value)

    return call


@dataclass(slots=True)
class _Run:
    """A handler in a thread, which goes on where nobody waits for it any more."""

    has_begun: bool = False
    is_over: bool = False
    is_cancelled: bool = False
    """It is not to begin."""


def bound(handler: Handler) -> set[str]:
    """Return the parameters that a `functools.partial` has given already, by name."""
    names: set[str] = set()
    while isinstance(handler, partial):
        names |= handler.keywords.keys()
        handler = handler.func
    return names


def generates(handler: Handler) -> bool:
    """Tell whether a handler yields what it answers, and so goes on when it was called."""
    function = _innermost(handler)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _innermost(handler: Handler) -> Handler:
    """Return what a handler is without what `functools.partial` has given."""
    while isinstance(handler, partial):
        handler = handler.func
    return handler


def _is_async(handler: Handler) -> bool:
    """Tell whether a handler runs on an event loop, and needs no thread."""
    handler = _innermost(handler)
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 # the method itself is wanted
    )


def _answer(handler: Handler, value: Any) -> Any:
    """Return what a handler has returned, and say so once if it means a status by it."""
    is_pair = isinstance(value, tuple) and len(value) == 2 and type(value[1]) is int
    if is_pair and 100 <= value[1] <= 599:
        _say_how_to_set_a_status(getattr(handler, "__name__", repr(handler)), value[1])
    return value


@cache
def _say_how_to_set_a_status(name: str, status: int) -> None:
    log.warning(
        "%s returned (..., %d), which is sent as a list, with status 200. A status is set by "
        "`return JSONResponse(content, status_code=%d)`, or `raise HTTPException(%d)`.",
        name,
        status,
        status,
        status,
    )
