"""Whether anything of the author's, or of a library, wraps the calls of an application."""

import sys

import fastapi.routing
from fastapi import FastAPI
from fastapi.datastructures import DefaultPlaceholder
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.applications import Starlette

from hfhooks.worker.reports import Refusals, tell_of_middleware

__all__ = ["is_plain"]

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
