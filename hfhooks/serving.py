"""One server, from its first socket to its last word."""

import asyncio
import gc
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from hfhooks.console import Console
from hfhooks.endpoints import Endpoint
from hfhooks.errors import HfhooksError, JournalError, StartError, UsageError
from hfhooks.gateway.app import Gateway
from hfhooks.gateway.client import WorkerClient
from hfhooks.gateway.dispatch import Dispatcher
from hfhooks.gateway.journal import Journal, Retention, Unfinished, open_journal
from hfhooks.gateway.limits import READ_WITHIN
from hfhooks.gateway.listener import Listener, bind
from hfhooks.gateway.memory import recall, remember
from hfhooks.loop import run
from hfhooks.settings import Settings
from hfhooks.state import RunningServer, announced, journal_folder, state_folder
from hfhooks.supervisor import Supervisor
from hfhooks.worker.loading import Target, find_targets
from hfhooks.worker.spawn import WorkerProcess

__all__ = ["serve"]

CTRL_C = 130
"""Exit code for SIGINT."""
ONE_SIGNAL = 0.5
"""Seconds within which several signals are one: whoever stops us may send more than one kind."""
LONG = 1.0
"""Seconds after which a person wonders why nothing happens."""
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # all addresses → one of them


def serve(
    arguments: Sequence[str],
    targets: Sequence[Target],
    settings: Settings,
    process: WorkerProcess,
    console: Console,
) -> int:
    """Serve what the arguments name, now these targets, until a signal comes; return the exit code.

    Raises `HfhooksError` when that cannot start.
    """
    for path in settings.watch:
        if not path.exists():
            raise UsageError(f"--watch {path}: no such file or folder.")
    root = settings.state_dir or state_folder()
    folder = journal_folder(root, targets[0].key)
    keep = Retention(settings.keep_days, settings.keep_deliveries, settings.keep_mib)
    with closing(bind(settings.host, settings.port)) as sock:
        holder = f"process {os.getpid()} on port {sock.getsockname()[1]}"
        with closing(open_journal(folder, holder=holder, retention=keep)) as journal:
            server = _Server(arguments, targets, settings, console, journal, sock)
            return run(server.run(process))


class _Server:
    """Gateway, supervisor and journal of one command, wired together."""

    def __init__(
        self,
        arguments: Sequence[str],
        targets: Sequence[Target],
        settings: Settings,
        console: Console,
        journal: Journal,
        sock: socket.socket,
    ) -> None:
        self._targets = targets
        self._console = console
        self._host, self._port = REACHED_AT.get(settings.host, settings.host), sock.getsockname()[1]
        self._wait, self._grace = settings.wait, settings.grace
        self._token = secrets.token_urlsafe(32)
        self._journal = journal
        self._endpoints: list[Endpoint] = []
        self._update: Callable[[list[dict[str, Any]]], None] = lambda _: None
        """Tells the other commands which endpoints there are."""
        self._dispatcher = Dispatcher(journal, console.finished)
        self._gateway = Gateway(
            journal,
            self._dispatcher,
            console,
            url=self._url,
            wait=self._wait,
            token=self._token,
        )
        patience = max(self._grace, READ_WITHIN) + 1
        self._listener = Listener(self._gateway.respond, sock, patience=patience)
        self._reload = _is_wanted(settings.reload)
        self._supervisor = Supervisor(
            lambda: find_targets(arguments),
            self,
            reload=self._reload,
            folders=[Path(name).resolve() for name in arguments if Path(name).is_dir()],
            watched=[path.resolve() for path in settings.watch],
            grace=self._grace,
        )
        self._dispatcher.on_unreachable = self._supervisor.replace

    async def run(self, process: WorkerProcess) -> int:
        # What is imported stays, and what a delivery leaves is soon gone by itself: looking for
        # cycles in it takes a tenth of the time.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        left = self._journal.unfinished()
        for delivery in left:
            self._dispatcher.resume(delivery)
        with _stop_signal() as stop:
            self._journal.on_failure(partial(_settle_from_thread, stop))
            listening = asyncio.create_task(self._listener.listen())
            try:
                await self._start(process, stop)
                if not stop.done():
                    self._tell_of(left)
                    await self._announce(stop)
            finally:
                await self._stop(listening)
        self._console.stopped()
        return CTRL_C if stop.result() == signal.SIGINT else 0

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

    def _tell_of(self, left: Sequence[Unfinished]) -> None:
        here = {endpoint.name for endpoint in self._endpoints}
        orphans = [delivery.endpoint for delivery in left if delivery.endpoint not in here]
        if number := len(left) - len(orphans):
            self._console.note(f"handling {_count(number)} that the last run did not finish.")
        if orphans:
            names = ", ".join(sorted(set(orphans)))
            self._console.note(
                f"kept for an endpoint that is not here ({names}): {_count(len(orphans))}."
            )

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
            journal=str(self._journal.path),
            token=self._token,
        )
        with ExitStack() as stack:
            try:
                tell = stack.enter_context(announced(server))
                self._update = lambda endpoints: tell(replace(server, endpoints=endpoints))
            except (OSError, StartError) as error:
                self._console.note(f"other commands will not find this server: {error}")
            without_secret = [endpoint.name for endpoint in self._endpoints if not endpoint.secret]
            self._console.ready(server, without_secret, self._reload)
            await stop

    async def _stop(self, listening: "asyncio.Task[None]") -> None:
        self._gateway.stop()
        self._listener.stop()
        grace = 0 if self._journal.failure else self._grace
        if (number := self._dispatcher.running) and grace:
            handlers = "a handler" if number == 1 else f"{number} handlers"
            within = f"{self._grace:g} s; Ctrl-C again stops at once."
            self._console.note(f"{handlers} may run for {within}")
        deadline = time.monotonic() + grace
        await self._dispatcher.drain(grace)
        await listening
        leaving = asyncio.create_task(self._supervisor.stop(deadline - time.monotonic()))
        await asyncio.wait({leaving}, timeout=LONG)
        if not leaving.done():
            self._console.note("background tasks are still running; Ctrl-C again stops at once.")
        await leaving

    def on_ready(
        self, client: WorkerClient, endpoints: list[Endpoint], reloaded_in: float | None
    ) -> None:
        """Let the worker that is ready have the deliveries."""
        before, self._endpoints = self._endpoints, endpoints
        self._gateway.publish(endpoints)
        self._dispatcher.use(client, endpoints)
        with suppress(OSError):  # no room: it is needed only if the next start is a broken one
            remember(self._journal.path.parent, endpoints, os.environ.get("WEBHOOK_SECRET"))
        if reloaded_in is None:
            return
        described = [self._described(endpoint) for endpoint in endpoints]
        with suppress(OSError):
            self._update(described)
        old, new = ({endpoint.path for endpoint in some} for some in (before, endpoints))
        self._console.reloaded(reloaded_in, described, sorted(new - old), sorted(old - new))
        if retried := self._dispatcher.retry_raised():
            self._console.note(f"{_count(retried)} retried with the new code.")

    def on_broken(self, error: HfhooksError) -> None:
        """Go on with what there is, be it the memory of the endpoints that there were."""
        if not self._endpoints:
            known = recall(self._journal.path.parent, os.environ.get("WEBHOOK_SECRET"))
            self._gateway.publish(known, are_all=False)
        self._console.broken(error, self._dispatcher.has_worker)

    def on_lost(self, reason: str) -> None:
        """Hold the deliveries."""
        self._dispatcher.lose()
        self._console.note(reason)

    def on_trouble(self, text: str) -> None:
        """Tell the person at the terminal."""
        self._console.note(text)

    @property
    def _url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def _described(self, endpoint: Endpoint) -> dict[str, Any]:
        filters = {part: list(patterns) for part, patterns in asdict(endpoint.filter).items()}
        url = self._url + endpoint.path
        return {"name": endpoint.name, "path": endpoint.path, "url": url, **filters}


def _is_wanted(reload: bool | None) -> bool:
    """Tell whether to reload: where nobody said so, at a terminal, and not in a Space."""
    if reload is None:
        return sys.stdout.isatty() and "SPACE_ID" not in os.environ
    return reload


def _count(number: int) -> str:
    return "a delivery" if number == 1 else f"{number} deliveries"


def _settle_from_thread(stop: "asyncio.Future[int]", why: int | JournalError) -> None:
    """Let the server stop for this reason, unless it has one."""

    def settle() -> None:
        if stop.done():
            return
        if isinstance(why, JournalError):
            stop.set_exception(why)
        else:
            stop.set_result(why)

    with suppress(RuntimeError):  # the loop is closed: it has stopped
        stop.get_loop().call_soon_threadsafe(settle)


@contextmanager
def _stop_signal() -> "Iterator[asyncio.Future[int]]":
    """Yield a future that gets the signal that asks us to stop; a second one ends us at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()
    first_at = inf

    def on_signal(number: int, _: object) -> None:
        nonlocal first_at
        now = time.monotonic()
        if now > first_at + ONE_SIGNAL:
            os._exit(CTRL_C if number == signal.SIGINT else 128 + number)
        first_at = min(first_at, now)
        _settle_from_thread(stop, number)

    wanted = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    before = {name: signal.signal(name, on_signal) for name in wanted}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
