"""Handlers as FastAPI wants them: coroutine functions with a type for every parameter."""

import inspect
import logging
from functools import cache, partial
from typing import Annotated, Any, ForwardRef

from fastapi import Body, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.utils import get_typed_signature

from hfhooks.model.payload import WebhookPayload
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Handler

__all__ = ["DELIVERY", "callable_of", "delivery_in"]

DELIVERY = "hfhooks.delivery"
"""Where a scope has what its handler may know of its delivery."""
Bare = inspect.Parameter.empty
log = logging.getLogger(__name__)


def callable_of(handler: Handler) -> Handler:
    """Return the handler with a type for every parameter, as FastAPI wants it."""
    signature = get_typed_signature(handler)
    is_async, bound = _is_async(handler), _bound(handler)

    def in_thread(values: dict[str, Any]) -> Any:
        try:
            return handler(**values)
        except (StopIteration, GeneratorExit) as error:  # which no coroutine can carry
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error

    async def call(**values: Any) -> Any:
        value = handler(**values) if is_async else await run_in_threadpool(in_thread, values)
        if inspect.isawaitable(value):  # also from a `def` that wraps an `async def`
            value = await value
        return _answer(handler, value)

    parameters = [
        _typed(parameter)
        for parameter in signature.parameters.values()
        if parameter.name not in bound  # or the sender could set it by a query
    ]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


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


def _bound(handler: Handler) -> set[str]:
    """Return the parameters that a `functools.partial` has given already, by name."""
    names: set[str] = set()
    while isinstance(handler, partial):
        names |= handler.keywords.keys()
        handler = handler.func
    return names


def _is_async(handler: Handler) -> bool:
    while isinstance(handler, partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 # the method itself is wanted
    )


def _typed(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ValueError(
            f"the parameter {parameter} cannot be given by name, as handlers' parameters are. "
            "Write, for example, (payload: WebhookPayload)."
        )
    if isinstance(parameter.annotation, str | ForwardRef):
        raise ValueError(
            f"the type of the parameter {parameter.name} is not known when the script runs: "
            f"{parameter.annotation}. Import it outside of `if TYPE_CHECKING:`."
        )
    if parameter.default is Bare and parameter.annotation is Bare:
        return parameter.replace(annotation=WebhookPayload)
    if parameter.annotation is Delivery:
        return parameter.replace(annotation=Annotated[Delivery, Depends(_delivery)])
    if parameter.default is Bare and parameter.annotation in (Any, object):
        return parameter.replace(annotation=Annotated[Any, Body()])
    return parameter


async def _delivery(request: Request) -> Delivery:
    return delivery_in(request)


def delivery_in(request: Request) -> Delivery:
    """Return what is known of the delivery that a request is."""
    known: Delivery | None = request.scope.get(DELIVERY)
    return known or Delivery(webhook_id=request.headers.get("webhook-id"))
