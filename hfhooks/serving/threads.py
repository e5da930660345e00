"""Handlers called in threads of this process, as a worker process calls them in its own."""

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from hfhooks.errors import Fault
from hfhooks.http.passage import Site, SiteGone
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Note
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.registry import Registry
from hfhooks.supervisor.supervisor import WorkHost
from hfhooks.tasks import Tasks, run
from hfhooks.worker.app import build, direct_handlers, other_routes
from hfhooks.worker.calls import Calls
from hfhooks.worker.loops import Loops
from hfhooks.worker.served import make_room
from hfhooks.worker.site import WithState, entered, has_page

if TYPE_CHECKING:
    from fastapi import FastAPI

    from hfhooks.worker.pages import Pages

__all__ = ["ThreadWorker"]

CALLING = "calling handlers"


class ThreadWorker:
    """Calls the handlers that a registry has, in a thread with event loops of its own.

    It is the `Workers` of a node and what its dispatcher calls handlers by; `tasks` hears of what
    ends the thread.
    """

    takes_more = True
    """Where its thread ends, the server does."""
    isolated = None

    def __init__(self, registry: Registry, host: WorkHost, tasks: Tasks) -> None:
        self._registry = registry
        self._host, self._tasks = host, tasks
        self._endpoints: list[Endpoint] = []
        self._app: FastAPI | None = None
        self._lifespan: Any = None
        """That of the application, as it was entered."""
        self._served: Any = None
        """The application, with what its lifespan has made."""
        self._call: Calls
        self._pages: Pages | None = None
        self._leave: Callable[[], None] = lambda: None
        """Ends the lifespan."""
        self._loops = Loops(
            lambda *given: self._call(*given),
            registry,
            prepare=make_room,
            on_blocked=lambda why, _: self._tell(self._host.tell, Note(why)),
            on_fault=lambda error: self._tell(self._tasks.fail, Fault(CALLING, error)),
            on_active=partial(setattr, self, "_active"),
        )
        self.give_up = self._loops.cancel
        self._loop: asyncio.AbstractEventLoop
        """The first one, which lifespans belong to."""
        self._active: asyncio.AbstractEventLoop
        """The one that turns."""
        self._thread = Thread(target=self._run, name="hfhooks-handlers", daemon=True)

    async def start(self) -> None:
        """Return when deliveries are taken."""
        self._gateway = asyncio.get_running_loop()
        app, self._endpoints = build(self._registry, self._late)
        self._started: asyncio.Future[None] = self._gateway.create_future()
        self._ended: asyncio.Future[None] = self._gateway.create_future()
        self._thread.start()
        await self._started
        entering = asyncio.run_coroutine_threadsafe(self._enter(app), self._loop)
        await asyncio.wrap_future(entering)
        self._publish(None)

    def update(self) -> None:
        """Put the handlers that are declared now in the place of those there are.

        Raises `HfhooksError` for what cannot be. Called in no thread of ours.
        """
        if not self._started.done():
            return  # they are about to be read
        started = time.monotonic()
        app, self._endpoints = build(self._registry, self._late)
        if any(server.has_own_app for server in self._registry.servers):
            asyncio.run_coroutine_threadsafe(self._enter(app), self._loop).result()
        else:  # there is nothing to enter, and a handler may block that loop for long
            self._loop.call_soon_threadsafe(self._leave)
            self._serve(app, app, lambda: None)
        published: Future[None] = Future()

        def publish() -> None:
            try:
                self._publish(time.monotonic() - started)
            except Exception as error:  # noqa: BLE001 # it is raised in the cell that waits
                published.set_exception(error)
            else:
                published.set_result(None)

        self._gateway.call_soon_threadsafe(publish)
        published.result()

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        """Have the handler called that a claim is for; see `dispatch.attempts.Worker`."""
        self._loops.take(claim, secret, lambda ending: self._tell(ended, ending))

    async def stop(self, grace: float) -> None:
        """End the thread; what runs in it gets this many seconds."""
        if self._thread.is_alive():
            self._loops.stop()
            await asyncio.wait({self._ended}, timeout=max(grace, 0))

    def _publish(self, reloaded_in: float | None) -> None:
        assert self._app
        others = other_routes(self._app)
        site = Site(self._reach, has_page(others)) if others else None
        self._host.use(self, self._endpoints, site, reloaded_in)

    async def _reach(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Open a connection to what is served beside endpoints. Raises `SiteGone`."""
        try:
            ours, theirs = socket.socketpair()
            self._active.call_soon_threadsafe(self._show, theirs)
            await self._gateway.create_unix_connection(protocol, sock=ours)
        except (OSError, RuntimeError) as error:
            raise SiteGone(str(error)) from error

    def _show(self, sock: socket.socket) -> None:
        from hfhooks.worker.pages import Pages  # and uvicorn, which nothing else needs

        async def served(*given: Any) -> None:
            await self._served(*given)

        self._pages = self._pages or Pages(served)
        self._pages.serve(sock)

    def _run(self) -> None:
        try:
            run(self._turn())
        except BaseException as error:  # noqa: BLE001 # whatever it is, without us nothing runs
            self._tell(self._tasks.fail, Fault(CALLING, error))
        finally:
            self._tell(self._ended.set_result, None)

    async def _turn(self) -> None:
        self._loop = self._active = asyncio.get_running_loop()
        self._tell(self._started.set_result, None)
        try:
            await self._loops.serve(lambda _: None)
            if self._pages:
                await self._pages.finish()
        finally:
            self._leave()

    async def _enter(self, app: "FastAPI") -> None:
        """Serve this application from now on, within its lifespan."""
        if app is self._app and app.router.lifespan_context is self._lifespan:
            self._serve(app, self._served, self._leave)
            return
        state: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        self._living = asyncio.create_task(_live(app, state, over))
        entered_state = await state
        self._leave()
        self._lifespan = app.router.lifespan_context  # a page that is shown later adds its own
        self._serve(app, WithState(app, entered_state), over.set)

    def _serve(self, app: "FastAPI", served: Any, leave: Callable[[], None]) -> None:
        self._app, self._served, self._leave = app, served, leave
        self._call = Calls(direct_handlers(app), served, self._late)

    def _late(self, delivery: Delivery, error: str | None) -> None:
        self._tell(self._host.amend, delivery.id, delivery.attempt, error and redact(error))

    def _tell(self, call: Callable[..., object], *args: Any) -> None:
        """Have something called on the gateway's loop."""
        with suppress(RuntimeError):  # it is closed: nobody waits any more
            self._gateway.call_soon_threadsafe(call, *args)


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
