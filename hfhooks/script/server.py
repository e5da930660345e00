"""The server object that a script may create."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, overload

from hfhooks.script.decorator import H, Options, declare
from hfhooks.script.handover import calling_file, cancel
from hfhooks.script.page import options_of
from hfhooks.script.registry import current_registry
from hfhooks.script.running import serve_this, stop_served
from hfhooks.secret import checked_secret

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Lifespan", "WebhooksServer"]

Lifespan: TypeAlias = Callable[["FastAPI"], AbstractAsyncContextManager[Any]]


class WebhooksServer:
    """Endpoints that share a secret, and what is served beside them.

    `ui` is shown at `/` and below: Gradio's Blocks, or any ASGI application. `webhook_secret` is
    what the Hub must send in `X-Webhook-Secret` or `?secret=`; without it the environment's
    `WEBHOOK_SECRET` counts, and `WEBHOOK_SECRET_PREVIOUS` beside it. `lifespan` is entered before
    the first delivery and left after the last one, as FastAPI does: an async context manager that
    is called with the application. Raises `SecretError` for a blank or non-ASCII secret.
    """

    def __init__(
        self,
        ui: object = None,
        webhook_secret: str | None = None,
        *,
        lifespan: Lifespan | None = None,
    ) -> None:
        self.ui = ui
        self.lifespan = lifespan
        self.webhook_secret = None
        if webhook_secret is not None:
            self.webhook_secret = checked_secret(webhook_secret, "webhook_secret")
        self._fastapi_app: FastAPI | None = None
        self.file = calling_file()
        self.page_options: dict[str, Any] | None = None
        """What `launch` was given for the page; None where it was not called."""
        self._application: Any = None
        current_registry().servers.append(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Be an ASGI application, as for `uvicorn app:app`, which serves what was declared."""
        if self._application is None:
            from hfhooks.serving.asgi import Application

            cancel()
            self._application = Application(current_registry(), self, self.file)
        await self._application(scope, receive, send)

    @property
    def fastapi_app(self) -> "FastAPI":
        """The application that the endpoints are part of, for routes and middleware of one's own.

        What it answers itself is neither recorded nor retried.
        """
        if self._fastapi_app is None:
            from fastapi import FastAPI

            self._fastapi_app = FastAPI(
                docs_url=None, redoc_url=None, openapi_url=None, lifespan=self.lifespan
            )
        return self._fastapi_app

    @property
    def has_own_app(self) -> bool:
        """Something is served beside the endpoints, or before them."""
        return bool(self.ui is not None or self.lifespan or self._fastapi_app)

    @overload
    def add_webhook(
        self, path: str | None = None, **options: Unpack[Options]
    ) -> Callable[[H], H]: ...
    @overload
    def add_webhook(self, path: H, **options: Unpack[Options]) -> H: ...
    def add_webhook(self, path: Any = None, **options: Any) -> Any:
        """Serve a function as an endpoint of this server; see `webhook_endpoint`."""
        secrets = () if self.webhook_secret is None else (self.webhook_secret,)
        return declare(path, options, secrets)

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Serve this script, or what the cells of this notebook have declared.

        Returns at once in a script that is served already. What Gradio's `launch` takes may be
        given, for a page of Gradio's; what means nothing here is named in a note. Raises
        `EndpointError` for what would keep somebody out, and cannot.
        """
        self.page_options = {**(self.page_options or {}), **options_of(self.ui, args, kwargs)}
        serve_this()

    launch = run

    def stop(self) -> None:
        """End what `run` has started in a notebook."""
        stop_served()
