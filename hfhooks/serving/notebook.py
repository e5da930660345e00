"""Serving from a notebook: a server in threads beside the cells, which declare its endpoints."""

import asyncio
import atexit
import builtins
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from html import escape
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from hfhooks.console.text import Console, print_data
from hfhooks.dispatch.client import WorkerClient
from hfhooks.errors import JournalTaken, StartError
from hfhooks.http.listener import bind as bind_public
from hfhooks.http.passage import Site
from hfhooks.model.endpoint import Endpoint
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Registry
from hfhooks.serving.announce import RunningServer
from hfhooks.serving.node import Server, opened, settle_from_thread
from hfhooks.settings import Settings, load_settings
from hfhooks.supervisor.supervisor import Observer
from hfhooks.tasks import run
from hfhooks.worker.app import build, other_routes
from hfhooks.worker.listener import Listener
from hfhooks.worker.relief import Relief
from hfhooks.worker.serve import Guarded, bind, make_room_for
from hfhooks.worker.site import WithState, entered, has_page

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["serve"]

T = TypeVar("T")
STOP_WITHIN = 3.0
"""Seconds that a server gets when the kernel ends."""
MOST_ALIKE = 20
"""Notebooks that look the same and have journals of their own."""
LINK = re.compile(r"https?://[^\s()<>]*[^\s()<>.,:]")
HOW_TO_STOP = "Run a cell again to change a handler; call .stop() on any of them to end."


def serve(registry: Registry) -> None:
    """Serve what the cells have declared, from now on, and show where; return when it is ready.

    Where that is done already, take up what has changed, and show it again. Raises `HfhooksError`
    when it cannot start.
    """
    if registry.live is None:
        redact.learn_environment()
        registry.live = live = Notebook(registry)
        try:
            live.start()
        except BaseException:
            registry.live = None
            raise
    else:
        registry.live.update()
    assert isinstance(registry.live, Notebook)
    registry.live.show()


class Notebook:
    """The server of one kernel, in a thread."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._settings = _settings()
        self._console = _Console(self._settings.verbose)
        self._server: Server | None = None
        self._handlers: Handlers | None = None
        self._stop: Callable[[], None] = lambda: None
        self._thread = Thread(target=self._run, name="hfhooks-gateway", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Return when deliveries are taken. Raises what keeps it from that."""
        self._thread.start()
        while not self._console.is_ready.is_set() and self._thread.is_alive():
            self._thread.join(0.05)  # Ctrl-C must find us here, and no lock can be woken by it
        if self._failure:
            raise self._failure
        atexit.register(self._end_with_kernel)

    def update(self) -> None:
        """Take up what a cell has declared anew. Raises `HfhooksError` for what cannot be."""
        if self._handlers:
            self._handlers.update()

    def stop(self) -> None:
        """Finish what runs, within the grace, and end."""
        self._stop()
        self._thread.join()
        atexit.unregister(self._end_with_kernel)
        self._registry.live = None
        if self._failure:
            raise self._failure

    def show(self) -> None:
        """Show where the server is, with links where the notebook can show some."""
        assert self._server
        text = self._console.described(self._server)
        if not hasattr(builtins, "get_ipython"):  # IPython may be installed, and not in use
            print_data(text)
            return
        from IPython.display import display

        html = LINK.sub(r'<a href="\g<0>" target="_blank" rel="noopener">\g<0></a>', escape(text))
        show: Any = display
        show({"text/plain": text, "text/html": f"<pre>{html}</pre>"}, raw=True)

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                self._server = self._opened(stack)
                run(self._serve(self._server))
        except BaseException as error:  # noqa: BLE001 # it is raised where somebody waits
            self._failure = error
            if self._console.is_ready.is_set():
                self._console.note(f"the server has ended: {error}")
        finally:
            self._registry.live = None

    def _opened(self, stack: ExitStack) -> Server:
        """Return a server with the journal of this notebook, or with another where it is taken.

        Prompts in one folder, and some notebooks, cannot be told apart.
        """
        key = _key()
        for number in range(1, MOST_ALIKE + 1):
            own = key if number == 1 else f"{key}-{number}"
            server = opened(own, "the notebook", self._settings, self._workers, self._console)
            try:
                return stack.enter_context(server)
            except JournalTaken:
                if number == MOST_ALIKE:
                    raise
        raise AssertionError

    async def _serve(self, server: Server) -> None:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stop = lambda: settle_from_thread(stop, 0)
        await server.run(stop)

    def _workers(self, observer: Observer) -> "Handlers":
        self._handlers = Handlers(self._registry, observer)
        return self._handlers

    def _end_with_kernel(self) -> None:
        self._stop()
        self._thread.join(STOP_WITHIN)


class Handlers:
    """Runs the handlers in a thread with an event loop of its own, as a worker process does."""

    def __init__(self, registry: Registry, observer: Observer) -> None:
        self._registry = registry
        self._observer = observer
        self._endpoints: list[Endpoint] = []
        self._app: FastAPI | None = None
        self._served: Any = None
        """The application, with what its lifespan has made."""
        self._leave: Callable[[], None] = lambda: None
        """Ends the lifespan."""
        self._token = secrets.token_urlsafe(32)
        self._client: WorkerClient | None = None
        self._generation = 0
        """How many times loops were blocked."""
        self._thread = Thread(target=self._run, name="hfhooks-handlers", daemon=True)

    async def start(self) -> None:
        """Return when deliveries are taken."""
        self._gateway = asyncio.get_running_loop()
        app, self._endpoints = build(self._registry, self._failed_late)
        self._started: asyncio.Future[None] = self._gateway.create_future()
        self._ended: asyncio.Future[None] = self._gateway.create_future()
        self._thread.start()
        await self._started
        await asyncio.wrap_future(self._in_loop(self._enter(app)))
        self._publish(None)

    def replace(self) -> None:
        """Do nothing: it is this very process that accepts nothing."""

    def update(self) -> None:
        """Put the handlers that are declared now in the place of those there are."""
        if not self._started.done():
            return  # they are about to be read
        started = time.monotonic()
        app, self._endpoints = build(self._registry, self._failed_late)
        if any(server.has_own_app for server in self._registry.servers):
            self._in_loop(self._enter(app)).result()
        else:  # there is nothing to enter, and a handler may block that loop for long
            self._loop.call_soon_threadsafe(self._leave)
            self._app, self._served, self._leave = app, app, lambda: None
        published: Future[None] = Future()

        def publish() -> None:
            self._publish(time.monotonic() - started)
            published.set_result(None)

        self._gateway.call_soon_threadsafe(publish)
        published.result()

    async def stop(self, grace: float) -> None:
        """End the thread; what runs in it gets this many seconds."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._listener.stop)
        await asyncio.wait({self._ended}, timeout=max(grace, 0))
        if not self._ended.done() and self._client:
            self._client.interrupt()

    def _publish(self, reloaded_in: float | None) -> None:
        assert self._app
        others = other_routes(self._app)
        if self._client is None:
            self._client = WorkerClient(self._port, self._token)
            if self._generation:
                self._client.outlive(self._generation)
        site = Site(self._client, has_page(others)) if others else None
        self._observer.on_ready(self._client, self._endpoints, site, reloaded_in)

    def _run(self) -> None:
        try:
            run(self._listen())
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waited so long
                self._gateway.call_soon_threadsafe(self._ended.set_result, None)

    async def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        sock, port = bind(None)
        assert port
        self._port = port

        def wrap(app: Any) -> Guarded:
            return Guarded(app, self._token)

        relief = Relief(
            self._answer,
            self._registry,
            prepare=lambda: make_room_for(self._endpoints),
            on_blocked=self._blocked,
            on_free=self._free,
        )
        self._listener = Listener(wrap(relief), sock, self._on_started, is_plain=False)
        try:
            await relief.listen(self._listener, wrap)
        finally:
            self._leave()

    def _on_started(self) -> None:
        self._gateway.call_soon_threadsafe(self._started.set_result, None)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self._served(scope, receive, send)

    async def _enter(self, app: "FastAPI") -> None:
        """Serve this application from now on, within its lifespan."""
        make_room_for(self._endpoints)
        if app is self._app:
            return
        state: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        self._living = asyncio.create_task(_live(app, state, over))
        entered_state = await state
        self._leave()
        self._app, self._served, self._leave = app, WithState(app, entered_state), over.set

    def _in_loop(self, what: Any) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(what, self._loop)

    def _blocked(
        self, endpoint: str | None, why: str | None, begun: list[str], generation: int
    ) -> None:
        def tell() -> None:
            self._generation = generation
            if self._client:
                self._client.outlive(generation)
                self._observer.on_blocked(self._client, endpoint, why, begun)

        self._gateway.call_soon_threadsafe(tell)

    def _free(self) -> None:
        if self._client:
            self._gateway.call_soon_threadsafe(self._client.renew)

    def _failed_late(self, delivery: Delivery, error: str) -> None:
        self._gateway.call_soon_threadsafe(
            self._observer.on_late_failure, delivery.id, delivery.attempt, redact(error)
        )


async def _live(
    app: "FastAPI", state: "asyncio.Future[dict[str, Any]]", over: asyncio.Event
) -> None:
    """Enter and leave a lifespan in one task, as what it uses may want."""
    try:
        async with entered(app) as made:
            state.set_result(made)
            await over.wait()
    except Exception as error:
        if state.done():
            raise
        state.set_exception(error)


class _Console(Console):
    """Says in the notebook what a terminal is told, but for where the server is: that is shown."""

    def __init__(self, verbose: bool) -> None:
        super().__init__(stream=sys.stdout, verbose=verbose)
        self.is_ready = Event()

    def ready(
        self, server: RunningServer, open_endpoints: list[str], reloads: bool = False
    ) -> None:
        """Note it."""
        self.is_ready.set()

    def described(self, server: Server) -> str:
        """Return what is said of a server that is ready."""
        from rich.text import Text

        stream = StringIO()
        console = Console(stream=stream, how_to_stop=HOW_TO_STOP)
        console.ready(server.described, server.open_endpoints)
        return Text.from_ansi(stream.getvalue().rstrip()).plain


def _settings() -> Settings:
    settings = load_settings(reload=False)
    if "port" in settings.model_fields_set:
        return settings
    try:
        bind_public(settings.host, settings.port).close()
    except StartError:
        # Another notebook may have the usual one, and what counts is the URL that is shown.
        return load_settings(reload=False, port=0)
    return settings


def _key() -> str:
    """Return what tells this notebook from others: its path, where its server says that."""
    in_vs_code = vars(sys.modules["__main__"]).get("__vsc_ipynb_file__")
    name = os.environ.get("JPY_SESSION_NAME") or in_vs_code
    return str(Path(name).absolute() if name else Path.cwd() / "notebook")
