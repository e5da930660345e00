"""The endpoints that scripts declare, each with its handler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from inspect import unwrap
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hfhooks.errors import EndpointError, place
from hfhooks.model.endpoint import Endpoint
from hfhooks.script.handover import is_interactive

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = [
    "Handler",
    "Live",
    "OwnServer",
    "Registration",
    "Registry",
    "collecting",
    "current_registry",
]

Handler: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Registration:
    """An endpoint with its handler."""

    endpoint: Endpoint
    handler: Handler

    @property
    def code(self) -> CodeType | None:
        """What runs when the handler is called, None where that is not Python."""
        return getattr(unwrap(_function_of(self.handler)), "__code__", None)

    @property
    def place(self) -> str:
        """`file:line` of the handler, or what it is where there is no source."""
        code = self.code
        return place(code.co_filename, code.co_firstlineno) if code else repr(self.handler)


class OwnServer(Protocol):
    """What a script's server object brings beside its endpoints."""

    ui: object
    file: str
    """The script that has created it."""
    page_options: dict[str, Any] | None
    """What `launch` was given for the `ui`; None where it was not called."""

    @property
    def has_own_app(self) -> bool:
        """Whether it brings anything."""

    @property
    def fastapi_app(self) -> "FastAPI":
        """The application that the endpoints are to be part of."""


class Live(Protocol):
    """A server that runs while its endpoints are still being declared."""

    def update(self) -> None:
        """Take up what was declared. Raises `HfhooksError` for what cannot be."""

    def stop(self) -> None:
        """End it."""


class Registry:
    """The endpoints declared by the scripts that are being loaded."""

    def __init__(self, is_served: bool = False) -> None:
        self.registrations: dict[str, Registration] = {}
        self.servers: list[OwnServer] = []
        """The server objects that the scripts have created."""
        self.live: Live | None = None
        """The server that runs beside the cells of a notebook."""
        self.is_served = is_served
        """True in a worker, where the command that loads the script also serves it."""

    def add(self, registration: Registration) -> None:
        """Add an endpoint.

        Raises `EndpointError` when its path is taken; a cell that is run again replaces it, and so
        does a main script that is imported by its name.
        """
        name = registration.endpoint.name
        taken = self.registrations.get(name)
        may_replace = not self.is_served and (
            is_interactive() or (taken is not None and taken.place == registration.place)
        )
        if taken is not None and not may_replace:
            path = registration.endpoint.path
            raise EndpointError(
                f"two endpoints have the path {path}: {taken.place} and {registration.place}",
                help="Give one of them another path, such as "
                f'@webhook_endpoint("/{name}_2"), or rename the function.',
            )
        self.registrations[name] = registration
        try:
            if self.live:
                self.live.update()
        except BaseException:
            del self.registrations[name]
            if taken:
                self.registrations[name] = taken
            raise


_default_registry = Registry()
_current: ContextVar[Registry] = ContextVar("registry", default=_default_registry)


def current_registry() -> Registry:
    """Return the registry that decorators add to."""
    return _current.get()


@contextmanager
def collecting(registry: Registry) -> Iterator[Registry]:
    """Make decorators add to this registry meanwhile."""
    token = _current.set(registry)
    try:
        yield registry
    finally:
        _current.reset(token)


def _function_of(handler: Handler) -> Handler:
    while isinstance(handler, partial):
        handler = handler.func
    is_object = not hasattr(handler, "__code__") and not hasattr(handler, "__wrapped__")
    return type(handler).__call__ if is_object else handler
