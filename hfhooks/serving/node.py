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
from typing import Any, Protocol

from hfhooks.cli.keyboard import keyboard
from hfhooks.cli.keys import Keys
from hfhooks.console.text import Console
from hfhooks.dispatch.client import WorkerClient
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import HfhooksError, JournalError, StartError, TunnelError, UsageError
from hfhooks.gateway.app import PROBES, Gateway
from hfhooks.http.limits import READ_WITHIN, most_connections
from hfhooks.http.listener import Listener, bind
from hfhooks.http.passage import Site
from hfhooks.inspector.app import Inspector
from hfhooks.inspector.metrics import Gauges, Metrics
from hfhooks.journal.sqlite.folders import journal_folder
from hfhooks.journal.sqlite.journal import Journal, Retention, Unfinished, open_journal
from hfhooks.journal.sqlite.memory import recall, remember
from hfhooks.model.endpoint import Endpoint
from hfhooks.private import check_private, state_folder
from hfhooks.secret import advice, environment_secrets
from hfhooks.serving.announce import RunningServer, announced, find_server
from hfhooks.settings import Settings, space_url
from hfhooks.supervisor.spawn import WorkerProcess
from hfhooks.supervisor.supervisor import Observer, Supervisor
from hfhooks.tasks import run
from hfhooks.tunnels import chosen
from hfhooks.tunnels.keeper import Keeper
from hfhooks.tunnels.tunnel import Tunnel
from hfhooks.worker.loading import Target, find_targets

__all__ = ["Server", "Workers", "journal_of", "opened", "serve", "settle_from_thread"]

CTRL_C = 130
"""Exit code for SIGINT."""
ONE_SIGNAL = 0.5
"""Seconds within which several signals are one: whoever stops us may send more than one kind."""
LONG = 1.0
"""Seconds after which a person wonders why nothing happens."""
LOOPBACK = "127.0.0.1"
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # all addresses → one of them


def serve(
    arguments: Sequence[str],
    targets: Sequence[Target],
    settings: Settings,
    process: WorkerProcess,
    console: Console,
    is_attended: bool = False,
) -> int:
    """Serve what the arguments name, now these targets, until a signal comes; return the exit code.

    If it `is_attended` keys do what `keys.py` says.
    Raises `HfhooksError` when that cannot start.
    """
    for path in settings.watch:
        if not path.exists():
            raise UsageError(f"--watch {path}: no such file or folder.")
    reload = _is_wanted(settings.reload)

    def workers(observer: Observer) -> Supervisor:
        return Supervisor(
            lambda: find_targets(arguments),
            observer,
            process,
            reload=reload,
            folders=[Path(name).resolve() for name in arguments if Path(name).is_dir()],
            watched=[path.resolve() for path in settings.watch],
            grace=settings.grace,
            verbose=settings.verbose,
        )

    names = ", ".join(target.label for target in targets)
    with opened(targets[0].key, names, settings, workers, console, reload) as server:
        return run(_serve_until_signal(server, console, is_attended))


async def _serve_until_signal(server: "Server", console: Console, is_attended: bool) -> int:
    # What is imported stays, and what a delivery leaves is soon gone by itself: looking for
    # cycles in it takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with ExitStack() as stack:
        keys = stack.enter_context(keyboard()) if is_attended else None
        stop = stack.enter_context(_stop_signal(keys.restore if keys else lambda: None))
        if keys:
            end = partial(signal.raise_signal, signal.SIGTERM)
            keys.listen(Keys(console, lambda: server.described, end).actions)
        await server.run(stop)
    return CTRL_C if stop.result() == signal.SIGINT else 0


@contextmanager
def opened(
    key: str,
    names: str,
    settings: Settings,
    workers: "Callable[[Observer], Workers]",
    console: Console,
    reload: bool = False,
) -> "Iterator[Server]":
    """Yield a server that has its sockets and its journal, and can run.

    `key` tells journals apart, as `Target.key` does, and `names` is what a person calls what is
    served; `workers` makes what runs the handlers. Raises `HfhooksError` when it cannot start.
    """
    environment_secrets(os.environ)  # what is wrong with them no saved script will mend
    connections = most_connections()
    tunnel = chosen(settings)
    with ExitStack() as stack:
        sock = stack.enter_context(closing(_bind(settings.host, settings.port)))
        own = stack.enter_context(closing(_bind(LOOPBACK, settings.inspector_port)))
        holder = f"process {os.getpid()} on port {sock.getsockname()[1]}"
        journal = stack.enter_context(closing(journal_of(key, settings, holder)))
        yield Server(
            names,
            settings,
            workers,
            console,
            journal,
            tunnel,
            sockets=(sock, own),
            connections=connections,
            reload=reload,
        )


def journal_of(key: str, settings: Settings, holder: str) -> Journal:
    """Open the journal of what has this key, for this process alone.

    `holder` is what others are told who want it too. Raises `HfhooksError` when it cannot be had.
    """
    root = settings.state_dir or state_folder()
    folder = journal_folder(root, key)
    check_private(root, is_ours=False)
    for made in (folder.parent, folder):
        check_private(made)
    keep = Retention(settings.keep_days, settings.keep_deliveries, settings.keep_mib)
    return open_journal(folder, holder=holder, retention=keep)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except StartError as error:
        try:
            other = find_server(port)
        except HfhooksError:
            raise error from None
        text = f"port {port} is in use by hfhooks, process {other.pid}."
        raise StartError(text, error.help) from error


class Workers(Protocol):
    """What runs the handlers, and tells an `Observer` what becomes of them."""

    async def start(self) -> None:
        """Return when deliveries are taken. Raises `HfhooksError` when that cannot be."""

    def replace(self) -> None:
        """Put another worker in the place of one that accepts nothing."""

    async def stop(self, grace: float) -> None:
        """End all workers; the background tasks of handlers get this many seconds."""


class Server:
    """Gateway, workers and journal, wired together; `opened` makes one."""

    def __init__(
        self,
        names: str,
        settings: Settings,
        workers: Callable[[Observer], Workers],
        console: Console,
        journal: Journal,
        tunnel: Tunnel | None,
        *,
        sockets: tuple[socket.socket, socket.socket],
        connections: int,
        reload: bool,
    ) -> None:
        sock, own = sockets
        self._names = names
        self._console = console
        self._host, self._port = REACHED_AT.get(settings.host, settings.host), sock.getsockname()[1]
        self._wait, self._grace = settings.wait, settings.grace
        self._token = secrets.token_urlsafe(32)
        self._journal = journal
        self._endpoints: list[Endpoint] = []
        self._secrets: dict[str, tuple[str, ...]] = {}
        """The last ones that each endpoint had, also one that has vanished."""
        self._tell: Callable[[RunningServer], None] | None = None
        """Tells the other commands what has changed, once there is a server for them."""
        probe = PROBES + secrets.token_urlsafe(16)
        self._keeper = Keeper(tunnel, self._local_url, probe, self) if tunnel else None
        self._is_announced = False
        """The `ready` line has been printed."""
        self._down_because = ""
        """Why nothing comes by the public URL."""
        self._shown_url: str | None = None
        """The public URL that was said last."""
        self._must_open = settings.names_a_tunnel
        self._metrics = Metrics(console)
        self._dispatcher = Dispatcher(journal, self._metrics.finished)
        self._gateway = Gateway(
            journal,
            self._dispatcher,
            self._metrics,
            url=self._local_url,
            public_url=self._public_url,
            host=settings.host,
            wait=self._wait,
            token=self._token,
            probe=probe,
        )
        patience = max(self._grace, READ_WITHIN) + 1
        self._listener = Listener(
            self._gateway.respond,
            sock,
            patience=patience,
            max_body=settings.max_body,
            most_connections=connections,
            site_for=self._gateway.site_for,
        )
        port = own.getsockname()[1]
        self._inspector_url = f"http://{LOOPBACK}:{port}"
        inspector = Inspector(
            port, self._metrics, self._gauges, journal, self._dispatcher, self._token
        )
        self._inspector = Listener(inspector.respond, own, patience=LONG)
        self._reload = reload
        self._workers = workers(self)
        self._dispatcher.on_unreachable = self._workers.replace

    async def run(self, stop: "asyncio.Future[int]") -> None:
        """Serve until `stop` is done. Raises `HfhooksError` when that cannot start or go on."""
        left = self._journal.unfinished()
        for delivery in left:
            self._dispatcher.resume(delivery)
        self._journal.on_failure(partial(settle_from_thread, stop))
        listening = asyncio.gather(self._listener.listen(), self._inspector.listen())
        try:
            await self._start(stop)
            if not stop.done():
                self._tell_of(left)
                await self._announce(stop)
        finally:
            await self._stop(listening)
        self._console.stopped()

    async def _start(self, stop: "asyncio.Future[int]") -> None:
        """Return when deliveries can come and be handled, or a signal does."""
        starting = {asyncio.create_task(self._workers.start()): f"loading {self._names}"}
        if self._keeper:
            opening = asyncio.create_task(self._open(self._keeper))
            starting[opening] = f"opening the {self._keeper.name} tunnel"
        loop = asyncio.get_running_loop()
        for task, what in starting.items():
            loop.call_later(LONG, self._say_if_pending, task, f"still {what} …")
        pending: set[asyncio.Future[Any]] = set(starting)
        try:
            while pending and not stop.done():
                await asyncio.wait({*pending, stop}, return_when=asyncio.FIRST_COMPLETED)
                for done in [each for each in pending if each.done()]:
                    pending.remove(done)
                    done.result()
        finally:
            for each in pending:
                each.cancel()

    async def _open(self, keeper: Keeper) -> None:
        try:
            await keeper.start(self._must_open)
        except TunnelError as error:
            if self._must_open:
                raise
            self._keeper = None  # and trying again is no use
            self._console.error(error)

    def _say_if_pending(self, task: "asyncio.Task[None]", text: str) -> None:
        if not task.done():
            self._console.note(text)

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
        with ExitStack() as stack:
            try:
                self._tell = stack.enter_context(announced(self.described))
            except (OSError, StartError) as error:
                self._console.note(f"other commands will not find this server: {error}")
            in_force = (secret for endpoint in self._endpoints for secret in endpoint.secrets)
            for note in advice(os.environ, in_force):
                self._console.note(note)
            self._console.ready(self.described, self.open_endpoints, self._reload)
            self._is_announced = True
            if self._keeper and not self._keeper.is_up:
                self._console.tunnel_down(self._keeper.url, self._down_because)
            await stop

    def _update(self) -> None:
        """Let everybody know what has changed."""
        self._gateway.reached_at(self._local_url, self._public_url)
        if self._tell:
            with suppress(OSError):
                self._tell(self.described)

    async def _stop(self, listening: "asyncio.Future[Any]") -> None:
        self._gateway.stop()
        self._listener.stop()
        self._inspector.stop()
        grace = 0 if self._journal.failure else self._grace
        if (number := self._dispatcher.running) and grace:
            handlers = "a handler" if number == 1 else f"{number} handlers"
            within = f"{self._grace:g} s; Ctrl-C again stops at once."
            self._console.note(f"{handlers} may run for {within}")
        deadline = time.monotonic() + grace
        await self._dispatcher.drain(grace)
        await listening
        if self._keeper:
            await self._keeper.stop()
        leaving = asyncio.create_task(self._workers.stop(deadline - time.monotonic()))
        await asyncio.wait({leaving}, timeout=LONG)
        if not leaving.done():
            self._console.note("background tasks are still running; Ctrl-C again stops at once.")
        await leaving
        await self._dispatcher.settle()

    def on_ready(
        self,
        client: WorkerClient,
        endpoints: list[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        """Let the worker that is ready have the deliveries."""
        endpoints = [self._closed_as_before(endpoint) for endpoint in endpoints]
        before, self._endpoints = self._endpoints, endpoints
        self._gateway.publish(endpoints, site)
        self._dispatcher.use(client, endpoints)
        with suppress(OSError):  # no room: it is needed only if the next start is a broken one
            remember(self._journal.path.parent, endpoints, environment_secrets(os.environ))
        if reloaded_in is None:
            return
        self._metrics.reloaded(True)
        self._update()
        old, new = ({endpoint.path for endpoint in some} for some in (before, endpoints))
        described = self.described.endpoints
        self._console.reloaded(reloaded_in, described, sorted(new - old), sorted(old - new))
        if retried := self._dispatcher.retry_raised():
            self._console.note(f"{_count(retried)} retried with the new code.")

    def _closed_as_before(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with the last secret it had, if it has lost it in what was saved.

        A file or a variable that is gone for a moment must not let everybody in.
        """
        if endpoint.secrets:
            self._secrets[endpoint.name] = endpoint.secrets
        if endpoint.secrets or endpoint.name not in self._secrets:
            return endpoint
        self._console.note(
            f"{endpoint.path} has no secret any more: senders still need the last one. Start the "
            "server anew to let in everybody."
        )
        return replace(endpoint, secrets=self._secrets[endpoint.name])

    def on_broken(self, error: HfhooksError) -> None:
        """Go on with what there is, be it the memory of the endpoints that there were."""
        if not self._endpoints:
            known = recall(self._journal.path.parent, environment_secrets(os.environ))
            self._gateway.publish(known, are_all=False)
        self._metrics.reloaded(False)
        self._console.broken(error, self._dispatcher.has_worker)

    def on_lost(self, reason: str) -> None:
        """Hold the deliveries."""
        self._dispatcher.lose()
        self._console.note(reason)

    def on_late_failure(self, id: int, number: int, error: str) -> None:
        """Let the delivery count as failed."""
        self._dispatcher.fail(id, number, error)

    def on_blocked(
        self, client: WorkerClient, endpoint: str | None, why: str | None, begun: list[str]
    ) -> None:
        """Let another event loop have what is not begun."""
        self._dispatcher.take_back(client, set(begun), endpoint)
        if why:
            self._console.note(why)

    def on_trouble(self, text: str) -> None:
        """Tell the person at the terminal."""
        self._console.note(text)

    def on_tunnel_up(self, url: str) -> None:
        """Let everybody know the public URL."""
        before, self._shown_url = self._shown_url, url
        self._update()
        if self._is_announced:
            self._console.tunnel_up(self.described, before)

    def on_tunnel_down(self, url: str | None, why: str) -> None:
        """Say that nothing comes from outside, for now."""
        self._update()
        self._down_because = why
        if self._is_announced:
            self._console.tunnel_down(url, why)

    def on_tunnel_progress(self, text: str) -> None:
        """Say what takes so long."""
        self._console.progress(text)

    def _gauges(self) -> Gauges:
        keeper = self._keeper
        return Gauges(
            self._dispatcher.unfinished,
            self._dispatcher.has_worker,
            keeper.name if keeper else None,
            keeper is not None and keeper.is_up,
        )

    @property
    def _local_url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def _public_url(self) -> str | None:
        return self._keeper.url if self._keeper else space_url()

    @property
    def _url(self) -> str:
        """Where the server is reached: by everybody, if there is a way."""
        return self._public_url or self._local_url

    @property
    def open_endpoints(self) -> list[str]:
        """The names of the endpoints without a secret."""
        return [endpoint.name for endpoint in self._endpoints if not endpoint.secrets]

    @property
    def described(self) -> RunningServer:
        """What others need to know of it now."""
        has_tunnel = self._keeper is not None and self._keeper.url is not None
        return RunningServer(
            pid=os.getpid(),
            host=self._host,
            port=self._port,
            url=self._url,
            local_url=self._local_url,
            inspector_url=self._inspector_url,
            tunnel=self._keeper.name if self._keeper and has_tunnel else None,
            is_up=self._keeper is None or self._keeper.is_up,
            endpoints=[_described(endpoint, self._url) for endpoint in self._endpoints],
            wait=self._wait,
            journal=str(self._journal.path),
            token=self._token,
        )


def _described(endpoint: Endpoint, base_url: str) -> dict[str, Any]:
    filters = {part: list(patterns) for part, patterns in asdict(endpoint.filter).items()}
    url = base_url + endpoint.path
    return {"name": endpoint.name, "path": endpoint.path, "url": url, **filters}


def _is_wanted(reload: bool | None) -> bool:
    """Tell whether to reload: where nobody said so, at a terminal."""
    return sys.stdout.isatty() if reload is None else reload


def _count(number: int) -> str:
    return "a delivery" if number == 1 else f"{number} deliveries"


def settle_from_thread(stop: "asyncio.Future[int]", why: int | JournalError) -> None:
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
def _stop_signal(before_leaving: Callable[[], None]) -> "Iterator[asyncio.Future[int]]":
    """Yield a future that gets the signal that asks us to stop; a second one ends us at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()
    first_at = inf

    def on_signal(number: int, _: object) -> None:
        nonlocal first_at
        now = time.monotonic()
        if now > first_at + ONE_SIGNAL:
            before_leaving()
            os._exit(CTRL_C if number == signal.SIGINT else 128 + number)
        first_at = min(first_at, now)
        settle_from_thread(stop, number)

    wanted = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    before = {name: signal.signal(name, on_signal) for name in wanted}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
