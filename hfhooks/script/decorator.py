"""`@webhook_endpoint`: a function becomes an endpoint."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

from hfhooks.errors import EndpointError
from hfhooks.model.endpoint import FILTERS, PREFIX, Endpoint
from hfhooks.model.events import Filter, nearest
from hfhooks.script.handover import hand_over_at_exit
from hfhooks.script.registry import Handler, Registration, current_registry
from hfhooks.script.running import run_served, stop_served

__all__ = ["H", "Options", "declare", "webhook_endpoint"]

Patterns: TypeAlias = str | Iterable[str] | None
H = TypeVar("H", bound=Handler)
LONGEST_TIMEOUT = 30 * 24 * 3600
"""Seconds."""
LONGEST_NAME = 1024
"""Characters of a path below `/webhooks/`: a request's, with its query, has at most 2 KiB."""
LEAST = {"retries": 0, "max_concurrency": 1}
"""Options that are numbers, each with the least that it may be."""


class Options(TypedDict, total=False):
    """The keyword arguments of an endpoint; see `webhook_endpoint`."""

    on: Patterns
    repo: Patterns
    ref: Patterns
    retries: int
    max_concurrency: int
    timeout: float | None


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
    each ±20 %. At most `max_concurrency` calls of it run at the same time; the rest wait. A call
    that takes longer than `timeout` seconds is ended, and tried again as if it had raised.

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


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as fields of an `Endpoint`."""
    filters = {name: options[name] for name in FILTERS if name in options}
    numbers = {name: options[name] for name in LEAST if name in options}
    for word in options.keys() - filters.keys() - numbers.keys() - {"timeout"}:
        words = ("path", *FILTERS, *LEAST, "timeout")
        raise EndpointError(f"an endpoint has no argument {word!r}, {nearest(word, words)}")
    for name, number in numbers.items():
        if type(number) is not int or number < LEAST[name]:
            raise EndpointError(f"{name}= takes a number from {LEAST[name]} on, not {number!r}.")
    timeout = options.get("timeout")
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout <= LONGEST_TIMEOUT):
        raise EndpointError(
            f"timeout= takes seconds, such as 3600, not {timeout!r}.",
            f"More than 0 and at most {LONGEST_TIMEOUT}, 30 days; leave it out for no limit.",
        )
    try:
        return {"filter": Filter.of(**filters), **numbers, "timeout": timeout}
    except ValueError as error:
        raise EndpointError(str(error)) from error


def _endpoint_name(path: str | None, handler: Handler) -> str:
    if not callable(handler):
        raise EndpointError(f"an endpoint needs a function, not {handler!r}.")
    name = _handler_name(handler) if path is None else path.strip("/")
    name = name.removeprefix(PREFIX.lstrip("/"))
    parts = name.split("/")
    is_path = all(re.fullmatch(r"[A-Za-z0-9._~-]+", part) for part in parts)
    if len(name) > LONGEST_NAME:
        raise EndpointError(f"the path of an endpoint has at most {LONGEST_NAME} characters.")
    if not is_path or {".", ".."}.intersection(parts):
        help = "Use letters, digits and . _ ~ - between slashes, such as '/retrain'."
        raise EndpointError(f"{path or name!r} is no path for an endpoint.", help)
    return name


def _handler_name(handler: Handler) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__name__", type(handler).__name__)


def _runnable(handler: Handler) -> Handler:
    if isinstance(handler, FunctionType):
        handler.run = handler.launch = run_served  # type: ignore[attr-defined] # as huggingface_hub
        handler.stop = stop_served  # type: ignore[attr-defined]
    return handler
