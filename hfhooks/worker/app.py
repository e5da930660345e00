"""Endpoints → FastAPI app, and which handlers can be called without it."""

import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from hfhooks.errors import EndpointError
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.json_text import mended
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Registration, Registry
from hfhooks.secret import environment_secrets
from hfhooks.tracebacks import users_traceback
from hfhooks.worker.after import Room, ending_of_call
from hfhooks.worker.callables import callable_of, delivery_in
from hfhooks.worker.calls import LateFailure
from hfhooks.worker.direct import Direct, direct_of
from hfhooks.worker.plain import is_plain
from hfhooks.worker.reports import Refusals, report, tell_of_middleware
from hfhooks.worker.site import PAGE, app_of
from hfhooks.worker.whole import WholeAnswer

__all__ = [
    "EndpointRoute",
    "build",
    "direct_handlers",
    "other_routes",
]

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
    app = app_of(registry.servers, registry.is_served, registry.live is not None)
    secrets = environment_secrets(os.environ)
    hear = on_late_failure or _log_late_failure
    routes = [_route(each, hear) for each in registry.registrations.values()]
    app.router.routes[:] = [*routes, *other_routes(app)]
    Refusals.take_over(app, EndpointRoute)
    if not {500, Exception} & app.exception_handlers.keys():
        app.exception_handlers[Exception] = tell_of_middleware
    return app, [_described(route, secrets) for route in routes]


def other_routes(app: FastAPI) -> list[BaseRoute]:
    """Return the routes that are no endpoints."""
    return [route for route in app.router.routes if not isinstance(route, EndpointRoute)]


def _route(registration: Registration, on_late_failure: LateFailure) -> "EndpointRoute":
    endpoint, handler = registration.endpoint, registration.handler
    try:
        call = callable_of(handler)
        route = EndpointRoute(endpoint.path, call, methods=["POST"], response_model=None)
    except Exception as error:
        raise EndpointError(f"{registration.place}: {error}") from error
    route.declared, route.on_late_failure = endpoint, on_late_failure
    route.room = Room(endpoint.max_concurrency)
    route.direct = direct_of(handler, route.room)
    return route


def _described(route: "EndpointRoute", secrets: tuple[str, ...]) -> Endpoint:
    takes_json = route.body_field is not None or route.dependant.request_param_name is None
    return replace(route.declared.guarded_by(secrets), takes_json=takes_json)


class EndpointRoute(APIRoute):
    """Sees to it that there is one whole answer, and says when its author did not write it."""

    declared: Endpoint
    direct: "Direct | None"
    room: Room
    on_late_failure: LateFailure

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match deliveries only."""
        return (Match.NONE, {}) if PAGE in scope else super().matches(scope)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request, with background tasks that delay nobody else."""
        answer = super().get_route_handler()

        async def answer_bounded(request: Request) -> Response:
            response = await answer(request)
            self.room.bound(response)
            return response

        return answer_bounded

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = WholeAnswer(send)
        payload = receive if self.body_field is None else _mended(receive)
        try:
            await super().handle(scope, payload, answer)
        except BaseException as error:  # noqa: BLE001 # whatever it is, it is told
            if answer.is_sent:
                self.on_late_failure(delivery_in(Request(scope)), users_traceback(error))
            else:
                await report(ending_of_call(error))(scope, receive, send)


def _mended(receive: Receive) -> Receive:
    """Return what receives a payload as every parser reads it."""

    async def receive_mended() -> Message:
        message = await receive()
        return {**message, "body": mended(message["body"])} if message.get("body") else message

    return receive_mended


def direct_handlers(app: FastAPI) -> dict[str, Direct]:
    """Return the handlers that can be called without the application, by endpoint."""
    routes = [route for route in app.router.routes if isinstance(route, EndpointRoute)]
    if not is_plain(app):
        return {}
    return {route.declared.name: route.direct for route in routes if route.direct}


def _log_late_failure(delivery: Delivery, error: str) -> None:
    log.error("After the answer was sent:\n%s", error)
