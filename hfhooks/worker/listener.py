"""uvicorn as the worker runs it: signals are the gateway's business alone."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import nullcontext
from time import monotonic
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
        self.sock = sock
        self.is_plain = is_plain
        self.turned_at = monotonic()
        """When the event loop turned the last time, in monotonic time."""
        self._is_retiring = False
        self._loop: asyncio.AbstractEventLoop | None = None
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

    async def on_tick(self, counter: int) -> bool:
        """Note that the event loop turns, and say whether to end."""
        self.turned_at = monotonic()
        is_over = await super().on_tick(counter)
        return is_over or (self._is_retiring and not self.server_state.connections)

    async def listen(self) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        await self.serve([self.sock])

    def stop(self) -> None:
        """Accept nothing more, finish what is being answered, and end."""
        self.should_exit = True

    def retire(self) -> None:
        """Accept nothing more, and end when the connections that there are have been closed.

        May be called in any thread.
        """
        if self._loop is None:  # it has not begun: it will end at once
            self._is_retiring = True
        else:
            self._loop.call_soon_threadsafe(self._accept_no_more)

    def _accept_no_more(self) -> None:
        for server in self.servers:
            server.close()
        self._is_retiring = True
