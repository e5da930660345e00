"""Handlers as FastAPI wants them: coroutine functions with a type for every parameter."""

import inspect
from typing import Annotated, Any, ForwardRef

from fastapi import Body, Depends, Request
from fastapi.dependencies.utils import get_typed_signature

from hfhooks.model.payload import WebhookPayload
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Handler
from hfhooks.worker.after import HELD
from hfhooks.worker.endings import DELIVERY
from hfhooks.worker.handlers import bound, call_of, generates

__all__ = ["callable_of", "delivery_in"]

Bare = inspect.Parameter.empty


def callable_of(handler: Handler) -> Handler:
    """Return the handler with a type for every parameter, as FastAPI wants it."""
    signature, given = get_typed_signature(handler), bound(handler)
    call = _noted(call_of(handler), handler)
    parameters = [
        _typed(parameter)
        for parameter in signature.parameters.values()
        if parameter.name not in given  # or the sender could set it by a query
    ]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def _noted(call: Handler, handler: Handler) -> Handler:
    """Return what notes that a handler has returned, which one that yields has not by then."""
    if generates(handler):
        return call

    async def call_noted(**values: Any) -> Any:
        value = await call(**values)
        if held := HELD.get():
            held.returned = value
        return value

    return call_noted


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
