"""What a script serves beside its endpoints: a `ui`, routes of its own, a lifespan."""

import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from hfhooks.errors import EndpointError
from hfhooks.script.page import PROTECTING, check_is_reached, mount_page
from hfhooks.script.registry import OwnServer
from hfhooks.tracebacks import users_traceback
from hfhooks.worker.sources import loaded_files

__all__ = ["PAGE", "OnlyPages", "WithState", "app_of", "entered", "has_page"]

PAGE = "hfhooks.page"
"""What a scope has that is no delivery: whatever its path may mean, it reaches no handler."""
log = logging.getLogger(__name__)


def app_of(
    servers: Sequence[OwnServer], are_all_meant: bool = True, awaits_launch: bool = False
) -> FastAPI:
    """Return the application to put the endpoints on: that of the server that has its own.

    Unless they `are_all_meant` the newest counts, as where a cell of a notebook was run again. If
    it `awaits_launch`, its `ui` is not shown before that says who may see it.
    Raises `EndpointError` where several have, or for a `ui` that cannot be shown.
    """
    owners = [server for server in servers if server.has_own_app]
    if len(owners) > 1 and are_all_meant:
        raise EndpointError(
            "two WebhooksServer have a ui, a lifespan or routes of their own.",
            help="Give them to one of the two; endpoints may be on both.",
        )
    if not owners:
        return FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = owners[-1].fastapi_app
    is_due = not awaits_launch or owners[-1].page_options is not None
    if owners[-1].ui is not None and is_due:
        _mount(app, owners[-1])
    return app


def has_page(routes: Sequence[BaseRoute]) -> bool:
    """Tell whether one of these routes answers at `/`."""
    visit = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
    return any(route.matches(visit)[0] is Match.FULL for route in routes)


@asynccontextmanager
async def entered(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Run the lifespan of an application; yield the state that its requests share."""
    lifespan = app.router.lifespan_context(app)
    state = await lifespan.__aenter__()
    try:
        yield dict(state or {})
    finally:
        try:
            await lifespan.__aexit__(None, None, None)
        except Exception as error:  # noqa: BLE001 # whatever it is, it is told, and we leave
            log.error("The lifespan failed at its end:\n%s", users_traceback(error))


class WithState:
    """An application whose requests share the state that its lifespan has made."""

    def __init__(self, app: ASGIApp, state: dict[str, Any]) -> None:
        self._app, self.state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": {**scope.get("state", {}), **self.state}}, receive, send)


class OnlyPages:
    """An application of which whoever comes this way reaches what is no endpoint."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, PAGE: True}, receive, send)


@dataclass(frozen=True)
class _Shown:
    """Stands in an application's state for the `ui` that it shows."""

    ui: object
    options: dict[str, Any] | None
    routes: list[BaseRoute]
    """Those that it is shown by."""


def _mount(app: FastAPI, server: OwnServer) -> None:
    """Show the `ui` of a server at `/`, once."""
    ui, options = server.ui, server.page_options
    shown = getattr(app.state, "hfhooks_shown", None)
    if shown is not None and shown.ui is ui:
        if shown.options != options:
            _close_if_open(app, shown, options or {})
            raise EndpointError(
                "a page that is shown already cannot be given other arguments of launch.",
                help="Where they protect it, it is closed now. Make a new WebhooksServer for it, "
                "or start the kernel anew.",
            )
        return
    if options is None:
        check_is_reached(sorted({server.file, *loaded_files()}))
    before = list(app.router.routes)
    gradio = sys.modules.get("gradio")  # who has made Blocks has imported it
    if gradio and isinstance(ui, gradio.Blocks):
        mount_page(app, ui, options or {})
    elif callable(ui):
        _mount_asgi(app, ui)
    else:
        raise EndpointError(
            f"WebhooksServer(ui=...) takes Gradio's Blocks or an ASGI application, not {ui!r}."
        )
    routes = [route for route in app.router.routes if route not in before]
    app.state.hfhooks_shown = _Shown(ui, options, routes)


def _close_if_open(app: FastAPI, shown: _Shown, wanted: dict[str, Any]) -> None:
    """Show a page no more that is to be protected otherwise than it is."""
    given = shown.options or {}
    if any(given.get(name) != wanted.get(name) for name in PROTECTING):
        app.router.routes[:] = [route for route in app.router.routes if route not in shown.routes]


def _mount_asgi(app: FastAPI, ui: ASGIApp) -> None:
    """Mount an application with its lifespan, which a mount alone forgets."""
    import uvicorn  # which no endpoint needs
    from uvicorn.lifespan.on import LifespanOn

    mounted = WithState(ui, {})
    app.mount("/", mounted)
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[Any]:
        async with outer(app) as state:
            lifespan = LifespanOn(uvicorn.Config(ui, lifespan="auto", log_config=None))
            await lifespan.startup()
            if lifespan.should_exit:
                raise RuntimeError("that of the ui, as told above")
            mounted.state = lifespan.state
            try:
                yield state
            finally:
                await lifespan.shutdown()

    app.router.lifespan_context = both
