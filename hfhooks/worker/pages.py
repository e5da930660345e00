"""What a script serves beside its endpoints, by uvicorn: each request on a socket of its own."""

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from hfhooks.worker.site import OnlyPages

__all__ = ["Pages"]

CHECK_EVERY = 0.05
"""Seconds between two looks whether all has been answered."""


class Pages:
    """Serves an application on sockets that are connected already."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(
            OnlyPages(app),
            http="httptools",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            ws="auto",
        )
        self._config.load()
        self._state = ServerState()
        self._connecting: set[asyncio.Task[Any]] = set()

    def serve(self, sock: socket.socket) -> None:
        """Answer what comes by a socket, on the running loop, until it is closed."""
        date = formatdate(time.time(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]
        loop = asyncio.get_running_loop()
        connecting = loop.create_task(loop.connect_accepted_socket(self._protocol, sock))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)

    async def finish(self) -> None:
        """Answer what has come, and nothing more."""
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._state.tasks or self._connecting:
            await asyncio.sleep(CHECK_EVERY)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self._config.http_protocol_class
        made: asyncio.Protocol = kind(config=self._config, server_state=self._state, app_state={})
        return made
