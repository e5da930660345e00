"""The server object that a script may create."""

import warnings
from collections.abc import Callable
from typing import Any, Unpack, overload

from hfhooks.endpoints import H, Options, declare, run_served
from hfhooks.secret import checked_secret

__all__ = ["WebhooksServer"]


class WebhooksServer:
    """Endpoints that share a secret.

    `webhook_secret` is what the Hub must send in `X-Webhook-Secret` or `?secret=`; without it the
    environment's `WEBHOOK_SECRET` counts, and `WEBHOOK_SECRET_PREVIOUS` beside it. Raises
    `SecretError` for a blank or non-ASCII one.
    """

    def __init__(self, ui: object = None, webhook_secret: str | None = None) -> None:
        if ui is not None:
            warnings.warn("WebhooksServer(ui=...) is not shown yet.", stacklevel=2)
        self.webhook_secret = None
        if webhook_secret is not None:
            self.webhook_secret = checked_secret(webhook_secret, "webhook_secret")

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
        """Return at once in a served script; elsewhere say how to serve it."""
        run_served(*args, **kwargs)

    launch = run
