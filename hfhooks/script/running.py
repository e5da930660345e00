"""`run` and `stop`, as a script or a cell of a notebook calls them."""

import logging
from typing import Any

from hfhooks.errors import EndpointError, HfhooksError
from hfhooks.script.handover import (
    calling_module,
    calling_script,
    hand_over,
    is_being_imported,
    is_interactive,
)
from hfhooks.script.registry import current_registry

__all__ = ["PROTECTING", "run_served", "stop_served"]

log = logging.getLogger(__name__)
PROTECTING = ("auth", "auth_dependency", "allowed_paths", "blocked_paths", "max_file_size")
"""Arguments of Gradio's `launch` by which somebody, or something, is kept out."""
GRADIO_AUTH = 6
"""The place of `auth` among its arguments."""


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
        from hfhooks.serving import notebook

        notebook.serve_cells(registry)
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
