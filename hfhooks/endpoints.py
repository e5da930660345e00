"""Endpoints: a path, a handler, and the events it wants."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from inspect import unwrap
from types import CodeType, FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from hfhooks.errors import EndpointError, HfhooksError, place
from hfhooks.events import Filter, nearest
from hfhooks.handover import (
    calling_module,
    calling_script,
    hand_over,
    hand_over_at_exit,
    is_being_imported,
    is_interactive,
)
from hfhooks.redact import redact

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = [
    "Endpoint",
    "Handler",
    "Options",
    "Registration",
    "Registry",
    "collecting",
    "current_registry",
    "run_served",
    "stop_served",
    "webhook_endpoint",
]

log = logging.getLogger(__name__)
Handler: TypeAlias = Callable[..., Any]
Patterns: TypeAlias = str | Iterable[str] | None
H = TypeVar("H", bound=Handler)

PREFIX = "/webhooks/"
FILTERS = ("on", "repo", "ref")
LEAST = {"retries": 0, "max_concurrency": 1}
PROTECTING = ("auth", "auth_dependency", "allowed_paths", "blocked_paths", "max_file_size")
"""Arguments of Gradio's `launch` by which somebody, or something, is kept out."""
GRADIO_AUTH = 6
"""The place of `auth` among its arguments."""
RETRIES = 4
MAX_CONCURRENCY = 16


@dataclass(frozen=True)
class Endpoint:
    """What the gateway must know of an endpoint; the handler itself stays in the worker."""

    name: str
    """The path after `/webhooks/`."""
    filter: Filter = field(default_factory=Filter)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Any of these lets a sender in, the first is the current one; none lets in everybody."""
    retries: int = RETRIES
    """How many more times the handler is called when it raises."""
    max_concurrency: int = MAX_CONCURRENCY
    """How many calls of the handler run at the same time."""
    takes_json: bool = True
    """False when the handler reads the request itself, so any media type and body will do."""

    @property
    def path(self) -> str:
        return PREFIX + self.name

    def described(self) -> dict[str, Any]:
        """Return what anybody may know of it, as in the `ready` line, but for its URL."""
        return {"name": self.name, "path": self.path, **asdict(self.filter)}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Endpoint":
        """Return an endpoint that another process has described, and mask its secrets here too."""
        redact.learn(*row["secrets"])
        patterns = {part: tuple(row["filter"][part]) for part in FILTERS}
        changed = {"filter": Filter(**patterns), "secrets": tuple(row["secrets"])}
        return cls(**{**row, **changed})


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
    """Let decorators add to this registry for a while."""
    token = _current.set(registry)
    try:
        yield registry
    finally:
        _current.reset(token)


class Options(TypedDict, total=False):
    """The keyword arguments of an endpoint; see `webhook_endpoint`."""

    on: Patterns
    repo: Patterns
    ref: Patterns
    retries: int
    max_concurrency: int


@overload
def webhook_endpoint(path: str | None = None, **options: Unpack[Options]) -> Callable[[H], H]: ...
@overload
def webhook_endpoint(path: H, **options: Unpack[Options]) -> H: ...
def webhook_endpoint(path: Any = None, **options: Any) -> Any:
    """Serve a function as a webhook endpoint.

    Works as `@webhook_endpoint`, `@webhook_endpoint()`, `@webhook_endpoint("/path")` and as a
    function call. The path is `/webhooks/<function name>` unless one is given. The function comes
    back unchanged, with `.run()` and `.launch()` added.

    Filters, each a text or a list of texts: `on` takes `scope`, which includes its narrower
    scopes, or `scope:action`, which is exactly that event; `repo` takes `type:owner/name` or
    `owner/name`, globs allowed; `ref` takes a glob over full ref names. Where a filter does not
    match, the sender gets 200 and the handler does not run.

    A handler that raises is called again up to `retries` times, after 5 s, 30 s, 2 min, 10 min,
    each ±20 %. At most `max_concurrency` calls of it run at the same time; the rest wait.

    Raises `EndpointError` for a wrong argument or a path that is taken.
    """
    return declare(path, options)


def declare(path: Any, options: dict[str, Any], secrets: tuple[str, ...] = ()) -> Any:
    """Add an endpoint if `path` is the function itself, else return the decorator that will."""
    checked = _checked(options)

    def decorate(handler: Handler, path: str | None = None) -> Handler:
        endpoint = Endpoint(_endpoint_name(path, handler), secrets=secrets, **checked)
        registry = current_registry()
        registry.add(Registration(endpoint, handler))
        if not registry.is_served:
            hand_over_at_exit()
        return _runnable(handler)

    if callable(path):
        return decorate(path)
    if path is not None and not isinstance(path, str):
        raise EndpointError(f"the path of an endpoint is a text such as '/retrain', not {path!r}.")
    return partial(decorate, path=path)


def run_served(*args: Any, **kwargs: Any) -> None:
    """Serve the script that Python was started with; in one that is served, return at once.

    In a notebook, or at a prompt, serve what was declared so far and return. What Gradio's `launch`
    takes may be given, and has no meaning here. Raises `EndpointError` for what would protect a
    page there: without it, everybody could see the page.
    """
    _check_protection(args, kwargs)
    registry = current_registry()
    if registry.is_served or is_being_imported():
        log.debug("run() returns at once in what is served, or imported.")
        return
    if args or kwargs:
        given = ", ".join([*map(repr, args), *(f"{name}=..." for name in kwargs)])
        log.warning("run(%s): what Gradio takes means nothing here, and is ignored.", given)
    if is_interactive():
        # By name, as a script is handed over to another program: what serves stands on this.
        import_module("hfhooks.notebook").serve(registry)
    elif (name := calling_script() or calling_module()) is not None:
        hand_over(name)
    else:
        help = "Write it to a file, and type: hfhooks serve FILE.py"
        raise HfhooksError("there is no script that could be served.", help)


def _check_protection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Accept nothing that is meant to keep somebody out and would keep out nobody."""
    given = [name for name in PROTECTING if kwargs.get(name) is not None]
    if not given and len(args) >= GRADIO_AUTH and args[GRADIO_AUTH - 1] is not None:
        given = ["auth"]
    if given:
        raise EndpointError(
            f"launch({given[0]}=...) protects nothing here: the page would be open to everybody.",
            help="Mount the page with it: gradio.mount_gradio_app(app.fastapi_app, ui, '/', "
            f"{given[0]}=...), and leave it out of WebhooksServer and launch.",
        )


def stop_served() -> None:
    """End the server that `run` has started beside the cells of a notebook, if there is one."""
    if live := current_registry().live:
        live.stop()


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as fields of an `Endpoint`."""
    filters = {name: options[name] for name in FILTERS if name in options}
    numbers = {name: options[name] for name in LEAST if name in options}
    for word in options.keys() - filters.keys() - numbers.keys():
        words = ("path", *FILTERS, *LEAST)
        raise EndpointError(f"an endpoint has no argument {word!r}, {nearest(word, words)}")
    for name, number in numbers.items():
        if type(number) is not int or number < LEAST[name]:
            raise EndpointError(f"{name}= takes a number from {LEAST[name]} on, not {number!r}.")
    try:
        return {"filter": Filter.of(**filters), **numbers}
    except ValueError as error:
        raise EndpointError(str(error)) from error


def _endpoint_name(path: str | None, handler: Handler) -> str:
    if not callable(handler):
        raise EndpointError(f"an endpoint needs a function, not {handler!r}.")
    name = _handler_name(handler) if path is None else path.strip("/")
    name = name.removeprefix(PREFIX.lstrip("/"))
    parts = name.split("/")
    is_path = all(re.fullmatch(r"[A-Za-z0-9._~-]+", part) for part in parts)
    if not is_path or {".", ".."}.intersection(parts):
        help = "Use letters, digits and . _ ~ - between slashes, such as '/retrain'."
        raise EndpointError(f"{path or name!r} is no path for an endpoint.", help)
    return name


def _handler_name(handler: Handler) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__name__", type(handler).__name__)


def _function_of(handler: Handler) -> Handler:
    while isinstance(handler, partial):
        handler = handler.func
    is_object = not hasattr(handler, "__code__") and not hasattr(handler, "__wrapped__")
    return type(handler).__call__ if is_object else handler


def _runnable(handler: Handler) -> Handler:
    if isinstance(handler, FunctionType):
        handler.run = handler.launch = run_served  # type: ignore[attr-defined] # as huggingface_hub
        handler.stop = stop_served  # type: ignore[attr-defined]
    return handler
