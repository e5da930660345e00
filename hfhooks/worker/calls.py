"""Handlers are called: directly where that is all there is to it, else through FastAPI."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Scope

from hfhooks.errors import Fault
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import ANSWERED, RAISED, REFUSED, Ending, failed_by
from hfhooks.model.endpoint import PREFIX
from hfhooks.model.headers import HOP_HEADERS, OWN_HEADERS, SECRET_HEADER
from hfhooks.script.author import Delivery
from hfhooks.tracebacks import users_traceback
from hfhooks.worker.app import MAX_ANSWER, LateFailure, WholeAnswer, direct_handlers
from hfhooks.worker.callables import DELIVERY
from hfhooks.worker.direct import Direct
from hfhooks.worker.endings import OUTCOME, RETRY_AFTER, ending_of, reasons
from hfhooks.worker.loops import Answered

__all__ = ["Calls"]

JSON = (b"content-type", b"application/json")
PLAIN = (str, int, float, bool, type(None))


class Calls:
    """Calls the handlers of an application, which is served as `served`, on the running loop.

    `on_late_failure` hears of what fails after the answer, such as background tasks. Unless it
    `uses_direct` calls, all go through FastAPI.
    """

    def __init__(
        self,
        app: FastAPI,
        served: ASGIApp,
        on_late_failure: LateFailure,
        *,
        uses_direct: bool = True,
    ) -> None:
        self._served = served
        self._on_late_failure = on_late_failure
        self._direct = direct_handlers(app) if uses_direct else {}

    async def __call__(self, claim: Claim, secret: str | None, answered: Answered) -> None:
        """Call a handler, and return when all that it left to be done is done too."""
        try:
            await self._call(claim, secret, answered)
        except Exception as error:  # noqa: BLE001 # a fault of ours: the handler's are answered
            answered(failed_by(Fault("calling a handler", error)))

    async def _call(self, claim: Claim, secret: str | None, answered: Answered) -> None:
        direct = self._direct.get(claim.delivery.endpoint)
        if direct is None or not await self._directly(direct, claim, answered):
            exchange = _Exchange(claim, secret, answered)
            await exchange.answer_by(self._served)

    async def _directly(self, direct: Direct, claim: Claim, answered: Answered) -> bool:
        """Call a handler with the payload; False if FastAPI has to say what is wrong with it."""
        media_type = next((v for n, v in claim.delivery.headers if n == "content-type"), "")
        if not media_type.lower().startswith("application/"):
            return False
        try:
            content = json.loads(claim.delivery.body)
        except ValueError:
            return False
        try:
            payload = direct.payload.validate_python(content, from_attributes=True)
        except ValidationError as error:
            found = error.errors(include_url=False)
            lines = [{**each, "loc": ("body", *each["loc"])} for each in found]
            answered(Ending(REFUSED, 422, body=reasons(lines)))
            return True
        answer = _Answer(answered)
        try:
            value = await direct.call(**{direct.parameter: payload})
            await answer.send(value)
        except BaseException as error:  # noqa: BLE001 # whatever it is, it is told
            if answer.is_sent:
                self._on_late_failure(delivery_of(claim), users_traceback(error))
            else:
                await answer.send_error(error)
        return True


class _Answer:
    """The answer of a handler that was called directly, as FastAPI would have sent it."""

    def __init__(self, answered: Answered) -> None:
        self.is_sent = False
        self._answered = answered

    async def send(self, value: Any) -> None:
        """Send what a handler has returned; run what it left to be done."""
        if isinstance(value, Response):
            scope: Scope = {"type": "http", "method": "POST", "headers": []}
            await value(scope, _nothing_more, _Collected(self._end).send)
            return
        content = value if _is_plain(value) else jsonable_encoder(value)
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode()
        if len(body) > MAX_ANSWER:
            raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
        self._end(Ending(ANSWERED, 200, (JSON,), body))

    async def send_error(self, error: BaseException) -> None:
        """Send what FastAPI makes of an exception, or tell what was raised."""
        if isinstance(error, RequestValidationError):
            self._end(Ending(REFUSED, 422, body=reasons(error.errors())))
        elif isinstance(error, HTTPException):
            request: Any = None  # which FastAPI does not look at
            try:
                await self.send(await http_exception_handler(request, error))
            except Exception as its_own:  # noqa: BLE001 # its detail is no JSON, for one
                self._end(ending_of(its_own))
        else:
            self._end(ending_of(error))

    def _end(self, ending: Ending) -> None:
        self._answered(ending)
        self.is_sent = True


def _is_plain(value: Any) -> bool:
    """Tell whether a value is JSON already, and FastAPI's encoder would leave it as it is."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return kind in PLAIN


class _Collected:
    """What an application sends, as the ending that it is."""

    def __init__(self, ended: Answered) -> None:
        self.send = WholeAnswer(self._take)
        """Takes what is sent in parts, and passes it on when it is complete."""
        self._ended = ended
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(name.lower(), value) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            own = {name: value.decode("latin-1") for name, value in self._headers}
            kind = own.get(OUTCOME.encode(), ANSWERED)
            after = own.get(RETRY_AFTER.encode())
            is_theirs = kind == ANSWERED
            headers = tuple(header for header in self._headers if header[0] != b"content-length")
            retry_after = None if after is None else float(after)
            body = message.get("body", b"")
            self._ended(Ending(kind, self._status, headers if is_theirs else (), body, retry_after))


class _Exchange:
    """One call through an ASGI application: https://asgi.readthedocs.io/en/latest/specs."""

    def __init__(self, claim: Claim, secret: str | None, answered: Answered) -> None:
        self._scope = scope_of(claim, secret)
        self._body: bytes | None = claim.delivery.body
        self._is_answered = False
        self._answered = answered
        self._collected = _Collected(self._end)

    async def answer_by(self, app: ASGIApp) -> None:
        """Call an application for the answer; it may go on after that."""
        try:
            await app(self._scope, self._receive, self._collected.send)
        except BaseException as error:  # noqa: BLE001 # middleware raises again what it has answered
            self._end(ending_of(error))
        self._end(Ending(RAISED, 500, body=b"The application has not answered."))

    async def _receive(self) -> Message:
        if self._body is None:
            return await _nothing_more()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    def _end(self, ending: Ending) -> None:
        if not self._is_answered:
            self._answered(ending)
            self._is_answered = True


async def _nothing_more() -> Message:
    """Wait: the sender is there as long as the application is."""
    nothing: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await nothing


def delivery_of(claim: Claim) -> Delivery:
    """Return what a handler may know of its delivery."""
    delivery = claim.delivery
    return Delivery(
        id=claim.id,
        webhook_id=delivery.webhook_id,
        attempt=claim.number,
        is_replay=delivery.origin == "replay",
        received_at=datetime.fromtimestamp(delivery.received_at, UTC),
    )


def scope_of(claim: Claim, secret: str | None) -> Scope:
    """Return a delivery as the request it was, with what its handler may know of it.

    The secret is never recorded, but handlers that check it themselves want the current one on a
    retry.
    """
    delivery = claim.delivery
    named = [
        (name, value)
        for name, value in delivery.headers
        if name not in HOP_HEADERS and not name.startswith(OWN_HEADERS)
    ]
    if secret and not any(name == SECRET_HEADER for name, _ in named):
        named.append((SECRET_HEADER, secret))
    named.append(("content-length", str(len(delivery.body))))
    path = PREFIX + delivery.endpoint
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": delivery.query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named],
        "client": None,
        "server": None,
        DELIVERY: delivery_of(claim),
    }
