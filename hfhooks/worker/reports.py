"""Endings as they pass through an application of the script's. This imports FastAPI."""

import inspect
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response

from hfhooks.model.ending import REFUSED, Ending
from hfhooks.worker.after import ending_of_call
from hfhooks.worker.endings import DELIVERY, OUTCOME, RETRY_AFTER, reasons

__all__ = ["Refusals", "report", "tell_of_middleware"]


async def tell_of_middleware(request: Request, error: Exception) -> Response:
    """Answer where the script's own middleware raises: before a handler, that counts as its own."""
    if DELIVERY in request.scope:
        return report(ending_of_call(error))
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
