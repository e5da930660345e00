"""uvicorn as both processes run it: signals are the command's business alone."""

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any, TypeVar

import uvicorn

from hfhooks.errors import StartError, UsageError

__all__ = ["Listener", "bind", "run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop, or on asyncio's own loop where there is none."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket at this address; port 0 takes a free one.

    Raises `UsageError` for an address that is none of this machine's, `StartError` for a port
    that cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"--host {host}: no such address.") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {host}: not an address of this machine.") from error
        if error.errno == errno.EADDRINUSE:
            help = "Stop the program that has it, or choose another: --port 0 takes a free one."
            raise StartError(f"port {port} is in use.", help) from error
        raise StartError(f"port {port} cannot be used: {error.strerror}.") from error


class Listener(uvicorn.Server):
    """Serves an ASGI app on a socket that is bound already; `stop` ends it."""

    def __init__(
        self,
        app: Any,
        sock: socket.socket,
        on_started: Callable[[], None] = lambda: None,
        **config: Any,
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
                ws="none",
                **config,
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
