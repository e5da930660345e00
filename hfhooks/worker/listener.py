"""uvicorn as the worker runs it: signals are the gateway's business alone."""

import socket
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import uvicorn

__all__ = ["Listener"]

REST_WITHIN = 24 * 3600
"""Seconds. The gateway keeps its connections open; after 5, the default, they would break."""


class Listener(uvicorn.Server):
    """Serves an ASGI app on a socket that is bound already; `stop` ends it.

    One that `is_plain` has no WebSockets.
    """

    def __init__(
        self,
        app: Any,
        sock: socket.socket,
        on_started: Callable[[], None] = lambda: None,
        *,
        is_plain: bool = True,
    ) -> None:
        self._sock = sock
        self._on_started = on_started
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=not is_plain,
                lifespan="off",
                ws="none" if is_plain else "auto",
                timeout_keep_alive=REST_WITHIN,
            )
        )

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override] # a generator there
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def listen(self) -> None:
        """Serve until told to stop."""
        await self.serve([self._sock])

    def stop(self) -> None:
        """Accept nothing more, finish what is being answered, and end."""
        self.should_exit = True
