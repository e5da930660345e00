"""Endpoints → FastAPI app."""

import asyncio
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, Any, ForwardRef, TypeAlias, cast

from fastapi import Body, Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.utils import get_typed_signature
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from hfhooks.errors import EndpointError
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.headers import (
    ATTEMPT_HEADER,
    BODILESS,
    DISCARDED,
    HOP_HEADERS,
    OUTCOME_HEADER,
    OWN_HEADERS,
    PASSED_HEADER,
    RAISED,
    REFUSED,
    RETRY,
    RETRY_AFTER_HEADER,
)
from hfhooks.model.payload import WebhookPayload
from hfhooks.script.author import Delivery, Discard, Retry
from hfhooks.script.registry import Handler, Registration, Registry
from hfhooks.secret import environment_secrets
from hfhooks.tracebacks import users_text, users_traceback
from hfhooks.worker.site import app_of

__all__ = ["build", "other_routes"]

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of a handler's answer."""
Bare = inspect.Parameter.empty
LateFailure: TypeAlias = Callable[[Delivery, str], None]
PASSED = PASSED_HEADER.encode()
ATTEMPT, OURS = ATTEMPT_HEADER.encode(), OWN_HEADERS.encode()
log = logging.getLogger(__name__)


def build(
    registry: Registry, on_late_failure: LateFailure | None = None
) -> tuple[FastAPI, list[Endpoint]]:
    """Return the app that runs the handlers, and what the gateway must know of each endpoint.

    An app that a script has made gets the endpoints that there are now instead of those it had.

    `on_late_failure` hears of what fails after the answer, such as background tasks; where there
    is none, that is logged.

    Raises `EndpointError` for a handler whose parameters cannot be filled, `SecretError` for a
    secret that cannot protect anything.
    """
    app = app_of(registry.servers, registry.is_served)
    secrets = environment_secrets(os.environ)
    hear = on_late_failure or _log_late_failure
    routes = [_route(each, hear) for each in registry.registrations.values()]
    app.router.routes[:] = [*routes, *other_routes(app)]
    _Refusals.take_over(app)
    if not {500, Exception} & app.exception_handlers.keys():
        app.exception_handlers[Exception] = _tell_of_middleware
    return app, [_described(route, secrets) for route in routes]


def other_routes(app: FastAPI) -> list[BaseRoute]:
    """Return the routes that are no endpoints."""
    return [route for route in app.router.routes if not isinstance(route, EndpointRoute)]


def _route(registration: Registration, on_late_failure: LateFailure) -> "EndpointRoute":
    endpoint = registration.endpoint
    try:
        route = EndpointRoute(
            endpoint.path, _callable(registration.handler), methods=["POST"], response_model=None
        )
    except Exception as error:
        raise EndpointError(f"{registration.place}: {error}") from error
    route.declared, route.on_late_failure = endpoint, on_late_failure
    return route


def _described(route: "EndpointRoute", secrets: tuple[str, ...]) -> Endpoint:
    return replace(
        route.declared,
        secrets=route.declared.secrets or secrets,
        takes_json=route.body_field is not None or route.dependant.request_param_name is None,
    )


class EndpointRoute(APIRoute):
    """Sees to it that there is one whole answer, and says when its author did not write it."""

    declared: Endpoint
    on_late_failure: LateFailure

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match deliveries only."""
        if any(name == PASSED for name, _ in scope["headers"]):
            return Match.NONE, {}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope, answer = _without_ours(scope), WholeAnswer(send)
        try:
            await super().handle(scope, receive, answer)
        except BaseException as error:  # whatever it is, it is told
            task = asyncio.current_task()
            is_ours = isinstance(error, asyncio.CancelledError)
            if is_ours and task and task.cancelling():  # not by the handler: the worker stops
                raise
            if answer.is_sent:
                self.on_late_failure(_delivery_of(Request(scope)), users_traceback(error))
            else:
                await _told(error)(scope, receive, send)


def _without_ours(scope: Scope) -> Scope:
    """Return a request with the headers that its sender has sent; what we know stands beside."""
    headers = [header for header in scope["headers"] if not header[0].startswith(OURS)]
    attempt = next((value for name, value in scope["headers"] if name == ATTEMPT), None)
    return {**scope, "headers": headers, ATTEMPT_HEADER: attempt}


class WholeAnswer:
    """Collects what a handler sends: one that breaks off half-way is no answer."""

    def __init__(self, send: Send) -> None:
        self.is_sent = False
        self._send = send
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not 200 <= message["status"] <= 599:
                raise ValueError(f"the status of an answer is 200 to 599, not {message['status']}")
            self._start = message
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > MAX_ANSWER:
                raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
            if not message.get("more_body", False):
                await self._finish()

    async def _finish(self) -> None:
        self.is_sent = True
        # A handler may have copied them from elsewhere, and they say how ours is sent.
        headers = [
            (name, value)
            for name, value in self._start["headers"]
            if name.decode("latin-1").lower() not in HOP_HEADERS
        ]
        if self._start["status"] not in BODILESS:
            headers.append((b"content-length", str(len(self._body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": bytes(self._body)})


def _told(error: BaseException) -> Response:
    """Return what the gateway is told when a handler raises."""
    text = users_text(error, otherwise=type(error).__name__)
    if isinstance(error, Retry):
        after = {} if error.after is None else {RETRY_AFTER_HEADER: str(error.after)}
        return _report(500, RETRY, text, after)
    if isinstance(error, Discard):
        return _report(500, DISCARDED, text)
    return _report(500, RAISED, users_traceback(error))


async def _tell_of_middleware(request: Request, error: Exception) -> Response:
    """Answer where the script's own middleware raises: before a handler, that counts as its own."""
    if any(name == ATTEMPT for name, _ in request.scope["headers"]):
        return _told(error)
    return PlainTextResponse("Internal Server Error", 500)


def _log_late_failure(delivery: Delivery, error: str) -> None:
    log.error("After the answer was sent:\n%s", error)


class _Refusals:
    """Tells the gateway when a handler's model refuses a payload; other routes answer as before."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    @classmethod
    def take_over(cls, app: FastAPI) -> None:
        theirs = app.exception_handlers[RequestValidationError]
        if not isinstance(theirs, cls):
            app.exception_handlers[RequestValidationError] = cls(theirs)

    async def __call__(self, request: Request, error: Any) -> Response:
        if isinstance(request.scope.get("route"), EndpointRoute):
            return _report(422, REFUSED, "\n".join(_reasons(error)))
        answer = self._theirs(request, error)
        return cast("Response", await answer if inspect.isawaitable(answer) else answer)


def _report(
    status: int, outcome: str, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    # A lone surrogate in an exception's text must not cost us the report.
    content = text.encode("utf-8", "backslashreplace")
    return PlainTextResponse(content, status, headers={OUTCOME_HEADER: outcome, **(headers or {})})


def _reasons(error: RequestValidationError) -> list[str]:
    return [
        f"{'.'.join(str(part) for part in reason['loc'])}: {reason['msg']}"
        for reason in error.errors()
    ]


def _callable(handler: Handler) -> Handler:
    """Return the handler with a type for every parameter, as FastAPI wants it."""
    signature = get_typed_signature(handler)
    is_async, bound = _is_async(handler), _bound(handler)

    def in_thread(values: dict[str, Any]) -> Any:
        try:
            return handler(**values)
        except StopIteration as error:  # which no future can carry
            raise RuntimeError("the handler raised StopIteration") from error

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
    return _delivery_of(request)


def _delivery_of(request: Request) -> Delivery:
    described = request.scope.get(ATTEMPT_HEADER)
    if described is None:  # not by way of our gateway
        return Delivery(webhook_id=request.headers.get("webhook-id"))
    fields = json.loads(described)
    received_at = datetime.fromtimestamp(fields.pop("received_at"), UTC)
    return Delivery(**fields, received_at=received_at)
