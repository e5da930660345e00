"""How a call has ended, and how that passes through an application of the script's."""

import inspect
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response

from hfhooks.model.ending import DISCARDED, RAISED, REFUSED, RETRY, Ending
from hfhooks.script.author import Discard, Retry
from hfhooks.tracebacks import users_text, users_traceback
from hfhooks.worker.callables import DELIVERY

__all__ = [
    "OUTCOME",
    "RETRY_AFTER",
    "Refusals",
    "ending_of",
    "reasons",
    "report",
    "tell_of_middleware",
]

OUTCOME, RETRY_AFTER = "hfhooks-outcome", "hfhooks-retry-after"
"""Headers of answers that the handler's author did not write: why, and the pause asked for."""


def ending_of(error: BaseException) -> Ending:
    """Return how a call has ended that raised."""
    text = users_text(error, otherwise=type(error).__name__)
    if isinstance(error, Retry):
        return Ending(RETRY, 500, body=_encoded(text), retry_after=error.after)
    if isinstance(error, Discard):
        return Ending(DISCARDED, 500, body=_encoded(text))
    return Ending(RAISED, 500, body=_encoded(users_traceback(error)))


def _encoded(text: str) -> bytes:
    # A lone surrogate in an exception's text must not cost us the report.
    return text.encode("utf-8", "backslashreplace")


async def tell_of_middleware(request: Request, error: Exception) -> Response:
    """Answer where the script's own middleware raises: before a handler, that counts as its own."""
    if DELIVERY in request.scope:
        return report(ending_of(error))
    return PlainTextResponse("Internal Server Error", 500)


class Refusals:
    """Tells the gateway when a handler's model refuses a payload; other routes answer as before."""

    def __init__(self, theirs: Any, ours: type[Any]) -> None:
        self._theirs, self._ours = theirs, ours

    @classmethod
    def take_over(cls, app: FastAPI, ours: type[Any]) -> None:
        """Tell of those of our kind of routes."""
        theirs = app.exception_handlers[RequestValidationError]
        if not isinstance(theirs, cls):
            app.exception_handlers[RequestValidationError] = cls(theirs, ours)

    @classmethod
    def are_ours(cls, app: FastAPI) -> bool:
        """Tell whether these, around FastAPI's own handler, are all there is."""
        ours = app.exception_handlers[RequestValidationError]
        default = FastAPI().exception_handlers[RequestValidationError]
        return isinstance(ours, cls) and ours._theirs is default

    async def __call__(self, request: Request, error: Any) -> Response:
        if isinstance(request.scope.get("route"), self._ours):
            return report(Ending(REFUSED, 422, body=reasons(error.errors())))
        answer = self._theirs(request, error)
        return cast("Response", await answer if inspect.isawaitable(answer) else answer)


def report(ending: Ending) -> Response:
    """Return the answer by which an ending passes through the script's own middleware."""
    after = {} if ending.retry_after is None else {RETRY_AFTER: str(ending.retry_after)}
    return PlainTextResponse(ending.body, ending.status, headers={OUTCOME: ending.kind, **after})


def reasons(errors: Any) -> bytes:
    """Return why a payload does not fit a model, a reason a line."""
    lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors]
    return _encoded("\n".join(lines))
