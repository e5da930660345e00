"""Which handlers can be called without their application."""

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, get_origin

import fastapi.routing
from fastapi import FastAPI
from fastapi.datastructures import DefaultPlaceholder
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.applications import Starlette

from hfhooks.script.registry import Handler
from hfhooks.worker.endings import Refusals, tell_of_middleware

__all__ = ["Direct", "direct_of", "is_plain"]

WRAPPED = (
    (fastapi.routing, "get_request_handler"),
    (fastapi.routing, "request_response"),
    (fastapi.routing, "run_endpoint_function"),
    (APIRoute, "get_route_handler"),
    (APIRoute, "handle"),
    (FastAPI, "__call__"),
    (FastAPI, "build_middleware_stack"),
    (Starlette, "__call__"),
)
"""What libraries that watch applications put something of theirs around."""
ORIGINALS = [getattr(owner, name) for owner, name in WRAPPED]
Bare = inspect.Parameter.empty


@dataclass(frozen=True)
class Direct:
    """A handler that takes the payload alone, so that it can be called with it."""

    parameter: str
    payload: TypeAdapter[Any]
    call: Callable[..., Any]
    """As FastAPI would call it: a coroutine function, which takes the parameter by name."""


def is_plain(app: FastAPI) -> bool:
    """Tell whether nothing of the author's, or of a library, has to do with each call."""
    ours = {RequestValidationError, Exception}
    theirs = app.exception_handlers.keys() - FastAPI().exception_handlers.keys() - ours
    is_own = Refusals.are_ours(app) and app.exception_handlers.get(Exception) in (
        None,
        tell_of_middleware,
    )
    return (
        type(app) is FastAPI
        and "build_middleware_stack" not in vars(app)
        and not (app.user_middleware or app.dependency_overrides or app.router.dependencies)
        and not theirs
        and is_own
        and isinstance(app.router.default_response_class, DefaultPlaceholder)
        and "opentelemetry.sdk" not in sys.modules
        and all(
            getattr(owner, name) is original
            for (owner, name), original in zip(WRAPPED, ORIGINALS, strict=True)
        )
    )


def direct_of(handler: Handler, call: Callable[..., Any]) -> Direct | None:
    """Return a handler as it can be called directly, None where it wants more than the payload.

    `call` is how FastAPI would call it.
    """
    parameters = inspect.signature(call).parameters
    if len(parameters) != 1:
        return None
    [parameter] = parameters.values()
    wanted = parameter.annotation
    is_model = isinstance(wanted, type) and issubclass(wanted, BaseModel)
    if parameter.default is not Bare or not (is_model or dict in (wanted, get_origin(wanted))):
        return None
    function = handler
    while isinstance(function, partial):
        function = function.func
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return None
    with suppress(Exception):  # FastAPI has taken it, in its own way
        return Direct(parameter.name, TypeAdapter(wanted), call)
    return None
