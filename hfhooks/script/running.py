"""`run` and `stop`, as a script or a cell of a notebook calls them."""

import logging
from typing import Any

from hfhooks.errors import HfhooksError
from hfhooks.script.handover import (
    calling_module,
    calling_script,
    hand_over,
    is_being_imported,
    is_interactive,
)
from hfhooks.script.page import options_of
from hfhooks.script.registry import current_registry

__all__ = ["run_served", "serve_this", "stop_served"]

log = logging.getLogger(__name__)


def run_served(*args: Any, **kwargs: Any) -> None:
    """Serve this script, or these cells, as `serve_this` does, in which no page is meant.

    What Gradio's `launch` takes may be given, and has no meaning here. Raises `EndpointError` for
    what would protect a page.
    """
    options_of(None, args, kwargs)
    serve_this()


def serve_this() -> None:
    """Serve the script that Python was started with; in one that is served, return at once.

    In a notebook, or at a prompt, serve what was declared so far and return.
    """
    registry = current_registry()
    if registry.is_served or is_being_imported():
        log.debug("run() returns at once in what is served, or imported.")
        return
    if is_interactive():
        from hfhooks.serving import notebook

        notebook.serve_cells(registry)
    elif (name := calling_script() or calling_module()) is not None:
        hand_over(name)
    else:
        help = "Write it to a file, and type: hfhooks serve FILE.py"
        raise HfhooksError("there is no script that could be served.", help)


def stop_served() -> None:
    """End the server that `run` has started beside the cells of a notebook, if there is one."""
    if live := current_registry().live:
        live.stop()
