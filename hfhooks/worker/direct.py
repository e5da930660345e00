"""Which handlers can be called without an application. No FastAPI here."""

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import BaseModel, TypeAdapter

from hfhooks.model.payload import WebhookPayload
from hfhooks.script.registry import Handler, Registry
from hfhooks.worker.after import Room
from hfhooks.worker.handlers import bound, call_of, generates

__all__ = ["Direct", "direct_alone", "direct_of"]

Bare = inspect.Parameter.empty
WATCHING = ("fastapi", "opentelemetry.sdk")
"""Modules of who may have to do with each call, once they are imported."""


@dataclass(frozen=True)
class Direct:
    """A handler that takes the payload alone, so that it can be called with it."""

    parameter: str
    validate: Callable[..., Any]
    """Makes the payload of what JSON has; pydantic's `validate_python`."""
    call: Callable[..., Any]
    """As FastAPI would call it: a coroutine function, which takes the parameter by name."""
    room: Room
    """For the background tasks of what it returns."""


def direct_alone(registry: Registry) -> dict[str, Direct] | None:
    """Return the handlers by endpoint, None where FastAPI has to do with any of them."""
    if not sys.modules.keys().isdisjoint(WATCHING):
        return None
    if any(server.has_own_app for server in registry.servers):
        return None
    found: dict[str, Direct] = {}
    for name, registration in registry.registrations.items():
        room = Room(registration.endpoint.max_concurrency)
        if (direct := direct_of(registration.handler, room)) is None:
            return None
        found[name] = direct
    return found


def direct_of(handler: Handler, room: Room) -> Direct | None:
    """Return a handler as it can be called directly, None where it wants more than the payload."""
    with suppress(Exception):  # FastAPI takes it, in its own way, or says why not
        signature = inspect.signature(handler, eval_str=True)
        given = bound(handler)
        wanted = [each for name, each in signature.parameters.items() if name not in given]
        if len(wanted) == 1 and _is_the_payload(wanted[0]) and not generates(handler):
            payload = WebhookPayload if wanted[0].annotation is Bare else wanted[0].annotation
            validate = TypeAdapter(payload).validator.validate_python
            return Direct(wanted[0].name, validate, call_of(handler), room)
    return None


def _is_the_payload(parameter: inspect.Parameter) -> bool:
    wanted = parameter.annotation
    is_model = isinstance(wanted, type) and issubclass(wanted, BaseModel)
    return (
        parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.default is Bare
        and (is_model or wanted is Bare or dict in (wanted, get_origin(wanted)))
    )
