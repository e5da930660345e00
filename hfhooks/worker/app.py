"""Endpoints → FastAPI app."""

import inspect
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ForwardRef, cast

from fastapi import Body, FastAPI, Request
from fastapi.dependencies.utils import get_typed_signature
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from hfhooks.endpoints import Endpoint, Handler, Registration, checked_secret
from hfhooks.errors import EndpointError
from hfhooks.payload import WebhookPayload
from hfhooks.wire import OUTCOME_HEADER, RAISED, REFUSED
from hfhooks.worker.frames import users_traceback

__all__ = ["build"]

Bare = inspect.Parameter.empty


def build(registrations: Sequence[Registration]) -> tuple[FastAPI, list[Endpoint]]:
    """Return the app that runs the handlers, and what the gateway must know of each endpoint.

    Raises `EndpointError` for a handler whose parameters cannot be filled, `SecretError` for a
    secret that cannot protect anything.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    secret = checked_secret(os.environ.get("WEBHOOK_SECRET"), "WEBHOOK_SECRET")
    endpoints = [_mount(app, registration, secret) for registration in registrations]
    return app, endpoints


def _mount(app: FastAPI, registration: Registration, secret: str | None) -> Endpoint:
    endpoint = registration.endpoint
    try:
        route = EndpointRoute(
            endpoint.path, _callable(registration.handler), methods=["POST"], response_model=None
        )
    except Exception as error:
        raise EndpointError(f"{registration.place}: {error}") from error
    app.router.routes.append(route)
    return replace(
        endpoint,
        secret=endpoint.secret or secret,
        takes_json=route.body_field is not None or route.dependant.request_param_name is None,
    )


class EndpointRoute(APIRoute):
    """Tells the gateway when an answer was not written by the handler's author."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_report(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException:
                raise
            except RequestValidationError as error:
                return _report(422, REFUSED, "\n".join(_reasons(error)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 # whatever it is, it is told
                return _report(500, RAISED, users_traceback(error))

        return handle_and_report


def _report(status: int, outcome: str, text: str) -> Response:
    # A lone surrogate in an exception's text must not cost us the report.
    content = text.encode("utf-8", "backslashreplace")
    return PlainTextResponse(content, status, headers={OUTCOME_HEADER: outcome})


def _reasons(error: RequestValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in reason['loc'])}: {reason['msg']}"
        for reason in error.errors()
    ]


def _callable(handler: Handler) -> Handler:
    """Return the handler with a type for every parameter, as FastAPI wants it."""
    signature = get_typed_signature(handler)

    async def call_async(**values: Any) -> Any:
        return await handler(**values)

    def call_in_thread(**values: Any) -> Any:
        return handler(**values)

    call: Any = call_async if _is_async(handler) else call_in_thread
    parameters = [_typed(parameter) for parameter in signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=parameters)
    return cast("Handler", call)


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
    if parameter.default is Bare and parameter.annotation in (Any, object):
        return parameter.replace(annotation=Annotated[Any, Body()])
    return parameter
