"""A `WebhooksServer` under an ASGI server of the user's: all of it in one process and one loop."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias
from urllib.parse import quote

from hfhooks.console.text import Text
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import Fault, HfhooksError
from hfhooks.gateway.app import Gateway
from hfhooks.http.limits import READ_WITHIN, Room, check_head
from hfhooks.http.messages import Answer, Request
from hfhooks.http.passage import Site
from hfhooks.journal import Journal
from hfhooks.model.condition import Condition
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.happenings import Failed, Happenings, Note
from hfhooks.model.headers import BODILESS
from hfhooks.model.refusal import Refusal
from hfhooks.processes import end_left
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.registry import OwnServer, Registry
from hfhooks.secret import advice, environment_secrets
from hfhooks.serving.own_journal import journal_url, open_own_journal
from hfhooks.settings import load_settings, space_url
from hfhooks.tasks import Tasks, in_thread
from hfhooks.tracebacks import users_traceback
from hfhooks.worker.app import build, direct_handlers, other_routes
from hfhooks.worker.calls import Calls
from hfhooks.worker.served import make_room
from hfhooks.worker.site import OnlyPages, WithState, entered, has_page

__all__ = ["Application"]

Scope: TypeAlias = dict[str, Any]
ASGI: TypeAlias = Any
"""An application, and what it receives and sends with: https://asgi.readthedocs.io."""


@dataclass(frozen=True)
class _Running:
    """What there is from the start to the stop."""

    gateway: Gateway
    pages: ASGI
    """What the script serves beside its endpoints."""
    room: Room
    tasks: Tasks
    public_url: str | None
    """Where everybody reaches it, if that is said."""


class Application:
    """Receives, records and dispatches; what is no delivery goes to the server's own application.

    `key` tells journals apart: it is the path of the script. Where nobody tells it when to start,
    by ASGI's lifespan, it starts with the first request.
    """

    def __init__(self, registry: Registry, server: OwnServer, key: str) -> None:
        self._registry, self._server, self._key = registry, server, key
        self._running: _Running | None = None
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: ASGI, send: ASGI) -> None:
        if scope["type"] == "lifespan":
            await self._live_as_told(receive, send)
            return
        running = self._running or await self._start_unasked()
        request = _request(scope) if scope["type"] == "http" else None
        if request is None or running.gateway.paths.site_for(request):
            await running.pages(scope, receive, send)
        else:
            running.gateway.reached_at(_base_url(scope), running.public_url)
            await _send(request, await _answer(running, request, receive), send)

    async def _live_as_told(self, receive: ASGI, send: ASGI) -> None:
        await receive()
        try:
            async with self._run() as self._running:
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            if self._running:
                raise
            await send({"type": "lifespan.startup.failed", "message": redact(_said(error))})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _start_unasked(self) -> _Running:
        async with self._starting:
            if self._running is None:
                running: asyncio.Future[_Running] = asyncio.get_running_loop().create_future()
                self._living = asyncio.create_task(self._live(running))
                self._running = await running
        return self._running

    async def _live(self, running: "asyncio.Future[_Running]") -> None:
        try:
            async with self._run() as started:
                running.set_result(started)
                await asyncio.Event().wait()
        except Exception as error:
            if running.done():
                raise
            running.set_exception(error)
        finally:
            self._running = None  # a loop that begins anew, as of a test, starts it again

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[_Running]:
        """Be ready for deliveries. Raises `HfhooksError` when that cannot be."""
        code = Path(self._key)
        settings = load_settings(code if code.is_file() else None)
        redact.follow_environment()
        environment = environment_secrets(os.environ)  # what is wrong with them is said first
        happenings = Happenings(Text(verbose=settings.verbose))
        for note in settings.notes:
            happenings.tell(Note(note))
        url = journal_url(settings, self._key)
        journal = open_own_journal(url, settings)
        try:
            await in_thread(end_left)  # or a delivery might run beside itself
            parts = _Parts(journal, happenings, settings.host, settings.wait)
            await parts.dispatcher.start()
            async with self._handled(parts, settings.grace) as pages:
                endpoints = parts.gateway.paths.endpoints
                await journal.publish([Published.of(each, environment) for each in endpoints])
                for note in self._advice(endpoints):
                    happenings.tell(Note(note))
                public_url = settings.public_url or space_url()
                room = Room(settings.max_body)
                yield _Running(parts.gateway, pages, room, parts.tasks, public_url)
            await parts.tasks.close()
        finally:
            await journal.close()

    def _advice(self, endpoints: Sequence[Endpoint]) -> list[str]:
        in_force = [secret for endpoint in endpoints for secret in endpoint.secrets]
        notes = list(advice(os.environ, in_force))
        if not all(endpoint.secrets for endpoint in endpoints):
            notes.append("the webhook secret is not set: anyone who knows a URL can call it.")
        return notes

    @asynccontextmanager
    async def _handled(self, parts: "_Parts", grace: float) -> AsyncIterator[ASGI]:
        """Call the handlers, from now on until what runs has had its grace; yield the pages."""

        def late(delivery: Delivery, error: str | None) -> None:
            error = error and redact(error)
            parts.dispatcher.outcomes.amend(delivery.id, delivery.attempt, error)

        servers = self._registry.servers
        servers.append(servers.pop(servers.index(self._server)))  # the newest one's app counts
        app, endpoints = build(self._registry, late)
        others = other_routes(app)
        async with entered(app) as state:
            served = WithState(app, state)
            worker = _LoopWorker(Calls(direct_handlers(app), served, late), parts.tasks)
            # Handlers and background tasks, beside what else there is on a loop of the user's.
            make_room(2 * sum(each.max_concurrency for each in endpoints))
            parts.dispatcher.use(worker, endpoints)
            await parts.dispatcher.quarantine.open()
            # Only whether a request is the script's own is asked here: nothing is passed on.
            parts.gateway.publish(endpoints, Site(None, has_page(others)) if others else None)
            try:
                yield OnlyPages(served)
            finally:
                deadline = monotonic() + grace
                parts.gateway.stop()
                await parts.dispatcher.drain(grace)
                await worker.drain(deadline - monotonic())
                await parts.dispatcher.outcomes.settle()


class _Parts:
    """Gateway and dispatcher, wired together."""

    def __init__(self, journal: Journal, happenings: Happenings, host: str, wait: float) -> None:
        tell = happenings.tell
        # The process is the user's, so nothing ends it; what comes is answered with 503.
        self.tasks = Tasks(lambda fault: tell(Failed(fault)), self._end)
        self.dispatcher = Dispatcher(journal, tell, self.tasks)
        self.gateway = Gateway(
            journal,
            self.dispatcher,
            tell,
            url="",
            address=host,
            wait=wait,
            token=secrets.token_urlsafe(32),
            why_idle=lambda: None if self.dispatcher.has_worker else "no worker",
        )

        def changed(condition: Condition) -> None:
            self.gateway.journal_became(condition)
            if condition.state == "failed" and condition.error:
                tell(Failed(condition.error))

        journal.when_changed(changed)

    def _end(self, fault: Fault) -> None:
        self.gateway.stop()


class _LoopWorker:
    """Calls handlers on the running loop; see `dispatch.attempts.Worker`."""

    takes_more = True

    def __init__(self, call: Calls, tasks: Tasks) -> None:
        self._call, self._tasks = call, tasks
        self._running: dict[int, asyncio.Task[None]] = {}

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        task = self._tasks.one("a handler", self._call(claim, secret, ended))
        self._running[claim.id] = task
        task.add_done_callback(lambda _: self._running.pop(claim.id, None))

    def give_up(self, id: int) -> None:
        if task := self._running.get(id):
            task.cancel()

    async def drain(self, seconds: float) -> None:
        """Give what runs so many seconds, then end it."""
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=max(seconds, 0))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _said(error: Exception) -> str:
    if isinstance(error, HfhooksError):
        return " ".join(filter(None, (f"error: {error}", error.help)))
    return users_traceback(error)


def _request(scope: Scope) -> Request:
    """Return what the gateway is to look at; its body has not come yet."""
    headers = [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in scope["headers"]
    ]
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    target = quote(path).encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    request = Request(scope["method"], target, headers, scope["http_version"])
    try:
        check_head(request.version, target, request.fields, headers)
    except Refusal as refusal:
        request.bad_head = refusal
    return request


def _base_url(scope: Scope) -> str:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}"


class _Asked:
    """Waits for the answer to a request; see `http.messages.Taker`."""

    def __init__(self, tasks: Tasks) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.report = tasks.report

    def answered(self, request: Request, answer: Answer) -> None:
        if not self.answer.done():  # or whoever waited has gone
            self.answer.set_result(answer)


async def _answer(running: _Running, request: Request, receive: ASGI) -> Answer:
    reading: list[asyncio.Task[None]] = []
    request.on_wanted = lambda: reading.append(
        running.tasks.one("reading a request", _read(request, receive))
    )
    asked = _Asked(running.tasks)
    request.accept(running.room, asked)
    try:
        running.gateway.respond(request)
        return await asked.answer
    finally:
        request.forget()
        for each in reading:
            each.cancel()


async def _read(request: Request, receive: ASGI) -> None:
    """Take the body as it comes."""
    try:
        async with asyncio.timeout(READ_WITHIN):
            await _take(request, receive)
    except TimeoutError:
        request.refuse(Refusal(408, "too_slow"))
    except Exception:
        request.refuse(Refusal(500, "internal"))
        raise
    finally:
        request.proceed()


async def _take(request: Request, receive: ASGI) -> None:
    while not request.is_whole:
        message = await receive()
        if message["type"] == "http.disconnect":
            request.refuse(Refusal(400, "incomplete"))
            return
        request.take(message.get("body", b""))
        if not message.get("more_body", False):
            request.complete()


async def _send(request: Request, answer: Answer, send: ASGI) -> None:
    headers = list(answer.headers)
    if answer.status not in BODILESS:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    has_body = request.method != "HEAD" and answer.status not in BODILESS
    await send({"type": "http.response.body", "body": answer.body if has_body else b""})
