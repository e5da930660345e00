"""A `WebhooksServer` under an ASGI server of the user's: all of it in one process and one loop."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeAlias
from urllib.parse import quote

from hfhooks.console.text import Console
from hfhooks.dispatch.direct import DirectWorker
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import HfhooksError
from hfhooks.gateway.app import Gateway
from hfhooks.http.limits import READ_WITHIN, Refusal, Room, check_head
from hfhooks.http.messages import Answer, Request
from hfhooks.http.passage import Site
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.headers import BODILESS, PASSED_HEADER
from hfhooks.redact import redact
from hfhooks.script.author import Delivery
from hfhooks.script.registry import OwnServer, Registry
from hfhooks.secret import advice, environment_secrets
from hfhooks.serving.node import journal_of
from hfhooks.settings import Settings, load_settings, space_url
from hfhooks.tracebacks import users_traceback
from hfhooks.worker.app import build, other_routes
from hfhooks.worker.serve import make_room_for
from hfhooks.worker.site import WithState, entered, has_page

__all__ = ["Application"]

Scope: TypeAlias = dict[str, Any]
ASGI: TypeAlias = Any
"""An application, and what it receives and sends with: https://asgi.readthedocs.io."""


@dataclass(frozen=True)
class _Running:
    """What there is from the start to the stop."""

    gateway: Gateway
    app: ASGI
    """What the script serves beside its endpoints, and they too."""
    room: Room
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
        request = _request(scope, running.room) if scope["type"] == "http" else None
        if request is None or running.gateway.site_for(request):
            headers = [*scope["headers"], (PASSED_HEADER.encode(), b"1")]
            await running.app({**scope, "headers": headers}, receive, send)
        else:
            running.gateway.reached_at(_base_url(scope), running.public_url)
            await _send(request, await _answer(running.gateway, request, receive), send)

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
        settings = load_settings()
        redact.learn_environment()
        environment_secrets(os.environ)  # what is wrong with them is said before all else
        console = Console(verbose=settings.verbose)
        with closing(journal_of(self._key, settings, f"process {os.getpid()}")) as journal:
            journal.on_failure(console.error)
            dispatcher = Dispatcher(journal, console.finished)
            gateway = Gateway(
                journal,
                dispatcher,
                console,
                url="",
                host=settings.host,
                wait=settings.wait,
                token=secrets.token_urlsafe(32),
            )
            for delivery in journal.unfinished():
                dispatcher.resume(delivery)
            async with self._handled(dispatcher, gateway, settings) as app:
                for note in self._advice(gateway.endpoints):
                    console.note(note)
                public_url = settings.public_url or space_url()
                yield _Running(gateway, app, Room(settings.max_body), public_url)

    def _advice(self, endpoints: Sequence[Endpoint]) -> list[str]:
        in_force = [secret for endpoint in endpoints for secret in endpoint.secrets]
        notes = list(advice(os.environ, in_force))
        if not all(endpoint.secrets for endpoint in endpoints):
            notes.append("the webhook secret is not set: anyone who knows a URL can call it.")
        return notes

    @asynccontextmanager
    async def _handled(
        self, dispatcher: Dispatcher, gateway: Gateway, settings: Settings
    ) -> AsyncIterator[ASGI]:
        """Call the handlers, from now on until what runs has had its grace."""

        def failed_late(delivery: Delivery, error: str) -> None:
            dispatcher.fail(delivery.id, delivery.attempt, redact(error))

        servers = self._registry.servers
        servers.append(servers.pop(servers.index(self._server)))  # the newest one's app counts
        app, endpoints = build(self._registry, failed_late)
        others = other_routes(app)
        async with entered(app) as state:
            served = WithState(app, state)
            worker = DirectWorker(served)
            make_room_for(endpoints)
            dispatcher.use(worker, endpoints)
            # Only whether a request is the script's own is asked here: nothing is passed on.
            gateway.publish(endpoints, Site(None, has_page(others)) if others else None)
            try:
                yield served
            finally:
                deadline = monotonic() + settings.grace
                gateway.stop()
                await dispatcher.drain(settings.grace)
                await worker.drain(deadline - monotonic())
                await dispatcher.settle()


def _said(error: Exception) -> str:
    if isinstance(error, HfhooksError):
        return " ".join(filter(None, (f"error: {error}", error.help)))
    return users_traceback(error)


def _request(scope: Scope, room: Room) -> Request:
    """Return what the gateway is to look at; its body has not come yet."""
    headers = [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in scope["headers"]
    ]
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    target = quote(path).encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    request = Request(scope["method"], target, headers, room)
    try:
        check_head(scope["http_version"], target, request.fields, headers)
        if request.fields.get("content-length", "").isdecimal():
            request.expect(request.fields["content-length"])
    except Refusal as refusal:
        request.bad_head = refusal
    return request


def _base_url(scope: Scope) -> str:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}"


async def _answer(gateway: Gateway, request: Request, receive: ASGI) -> Answer:
    reading: list[asyncio.Task[None]] = []
    request.on_wanted = lambda: reading.append(asyncio.create_task(_read(request, receive)))
    try:
        return await gateway.respond(request)
    finally:
        request.forget()
        for each in reading:
            each.cancel()


async def _read(request: Request, receive: ASGI) -> None:
    """Take the body as it comes."""
    try:
        async with asyncio.timeout(READ_WITHIN):
            while not request.is_whole:
                message = await receive()
                if message["type"] == "http.disconnect":
                    request.refuse(Refusal(400, "incomplete"))
                    return
                request.take(message.get("body", b""))
                if not message.get("more_body", False):
                    request.complete()
    except TimeoutError:
        request.refuse(Refusal(408, "too_slow"))


async def _send(request: Request, answer: Answer, send: ASGI) -> None:
    headers = list(answer.headers)
    if answer.status not in BODILESS:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    has_body = request.method != "HEAD" and answer.status not in BODILESS
    await send({"type": "http.response.body", "body": answer.body if has_body else b""})
