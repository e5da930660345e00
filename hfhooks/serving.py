"""One server, from its first socket to its last word."""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from typing import Any

from hfhooks.console import Console
from hfhooks.endpoints import Endpoint
from hfhooks.errors import StartError
from hfhooks.gateway.app import Gateway
from hfhooks.gateway.client import WorkerClient
from hfhooks.gateway.dispatch import Dispatcher
from hfhooks.gateway.journal import Journal, open_journal
from hfhooks.listener import Listener, bind, run
from hfhooks.settings import Settings
from hfhooks.state import RunningServer, announced, journal_folder, state_folder
from hfhooks.supervisor import Supervisor
from hfhooks.worker.loading import Target
from hfhooks.worker.spawn import WorkerProcess

__all__ = ["serve"]

GRACE = 15.0
"""Seconds that running handlers get when the server is told to stop."""
STOP_WITHIN = 1.5
"""Seconds that a worker without deliveries gets to leave."""
LONG = 1.0
"""Seconds after which a person wonders why nothing happens."""
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # all addresses → one of them


def serve(
    targets: Sequence[Target], settings: Settings, process: WorkerProcess, console: Console
) -> int:
    """Serve the targets until a signal comes; return the exit code.

    Raises `HfhooksError` when that cannot start.
    """
    root = settings.state_dir or state_folder()
    folder = journal_folder(root, targets[0].key)
    with (
        closing(bind(settings.host, settings.port)) as sock,
        closing(open_journal(folder)) as journal,
    ):
        return run(_Server(targets, settings, console, journal, sock).run(process))


class _Server:
    """Gateway, supervisor and journal of one command, wired together."""

    def __init__(
        self,
        targets: Sequence[Target],
        settings: Settings,
        console: Console,
        journal: Journal,
        sock: socket.socket,
    ) -> None:
        self._targets = targets
        self._console = console
        self._host, self._port = REACHED_AT.get(settings.host, settings.host), sock.getsockname()[1]
        self._wait = settings.wait
        self._token = secrets.token_urlsafe(32)
        self._left_over = journal.unfinished()
        self._endpoints: list[Endpoint] = []
        self._dispatcher = Dispatcher(journal, console.finished)
        self._gateway = Gateway(
            journal,
            self._dispatcher,
            console,
            url=self._url,
            wait=self._wait,
            token=self._token,
        )
        self._listener = Listener(self._gateway, sock, timeout_graceful_shutdown=int(GRACE))
        self._supervisor = Supervisor(targets, self._on_ready, self._on_lost)

    async def run(self, process: WorkerProcess) -> int:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        with _stop_signal() as stop:
            listening = asyncio.create_task(self._listener.listen())
            try:
                await self._start(process, stop)
                if not stop.done():
                    await self._announce(stop)
            finally:
                await self._stop(listening)
        self._console.stopped()
        return 130 if stop.result() == signal.SIGINT else 0

    async def _start(self, process: WorkerProcess, stop: "asyncio.Future[int]") -> None:
        starting = asyncio.create_task(self._supervisor.start(process))
        for timeout in (LONG, None):
            first: set[asyncio.Future[Any]] = {starting, stop}
            await asyncio.wait(first, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                return starting.result()
            if stop.done():
                starting.cancel()
                return None
            self._console.note(f"still loading {', '.join(t.label for t in self._targets)} …")
        return None

    async def _announce(self, stop: "asyncio.Future[int]") -> None:
        server = RunningServer(
            pid=os.getpid(),
            host=self._host,
            port=self._port,
            url=self._url,
            local_url=self._url,
            inspector_url=None,
            tunnel=None,
            endpoints=[self._described(endpoint) for endpoint in self._endpoints],
            wait=self._wait,
            token=self._token,
        )
        with ExitStack() as stack:
            try:
                stack.enter_context(announced(server))
            except (OSError, StartError) as error:
                self._console.note(f"other commands will not find this server: {error}")
            self._console.ready(server, [e.name for e in self._endpoints if e.secret is None])
            await stop

    async def _stop(self, listening: "asyncio.Task[None]") -> None:
        self._gateway.stop()
        self._listener.stop()
        if number := self._dispatcher.running:
            handlers = "a handler" if number == 1 else f"{number} handlers"
            self._console.note(f"{handlers} may run for {GRACE:.0f} s; Ctrl-C again stops at once.")
        await self._dispatcher.drain(GRACE)
        await listening
        await self._supervisor.stop(STOP_WITHIN)

    def _on_ready(self, client: WorkerClient, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = list(endpoints)
        self._gateway.publish(endpoints)
        self._dispatcher.use(client)
        names = {endpoint.name for endpoint in endpoints}
        for delivery in self._left_over:
            if delivery.endpoint in names:
                self._dispatcher.submit(delivery)
        self._left_over = [left for left in self._left_over if left.endpoint not in names]

    def _on_lost(self, reason: str) -> None:
        self._dispatcher.use(None)
        self._console.note(reason)

    @property
    def _url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def _described(self, endpoint: Endpoint) -> dict[str, Any]:
        filters = {part: list(patterns) for part, patterns in asdict(endpoint.filter).items()}
        url = self._url + endpoint.path
        return {"name": endpoint.name, "path": endpoint.path, "url": url, **filters}


@contextmanager
def _stop_signal() -> "Iterator[asyncio.Future[int]]":
    """Yield a future that gets the signal that asks us to stop; a second one ends us at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()

    def on_signal(number: int, _: object) -> None:
        loop.call_soon_threadsafe(stop.set_result, number)
        for name in wanted:
            signal.signal(name, signal.SIG_DFL)

    wanted = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    before = {name: signal.signal(name, on_signal) for name in wanted}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
