"""Handlers are called: directly where that is all there is to it, else through an application.

FastAPI is imported once something needs it: what no handler of a script uses costs nothing.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from hfhooks.errors import Fault
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import REFUSED, Ending, failed_by
from hfhooks.model.endpoint import PREFIX
from hfhooks.model.headers import SECRET_HEADER, is_carried
from hfhooks.model.json_text import mended
from hfhooks.script.author import Delivery
from hfhooks.tasks import in_thread
from hfhooks.tracebacks import users_traceback
from hfhooks.worker.after import HELD, Held
from hfhooks.worker.direct import Direct
from hfhooks.worker.endings import DELIVERY, ending_of, reasons
from hfhooks.worker.loops import Answered
from hfhooks.worker.unsendable import unsendable
from hfhooks.worker.whole import Collected, ending_of_json, nothing_more

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

__all__ = ["Calls", "Late", "LateFailure"]

PLAIN = (str, int, float, bool, type(None))
RENDERING = "hfhooks.worker.rendering"
LateFailure: TypeAlias = Callable[[Delivery, str], None]
Late: TypeAlias = Callable[[Delivery, str | None], None]


class Calls:
    """Calls handlers, on the running loop: the `direct` ones, by endpoint, and others by `served`.

    `on_late` hears that what was left to be done after an answer, such as background tasks, has
    failed, or that it is done: with the error, or None.
    """

    def __init__(
        self,
        direct: Mapping[str, Direct],
        served: "ASGIApp",
        on_late: Late,
    ) -> None:
        self._direct, self._served = direct, served
        self._on_late = on_late
        self._held: set[Held] = set()
        """The answers that wait."""
        self._fastapi: Any = None

    async def __call__(self, claim: Claim, secret: str | None, answered: Answered) -> None:
        """Call a handler, and return when all that it left to be done is done too."""
        held = Held(answered, self._held)
        try:
            direct = self._direct.get(claim.delivery.endpoint)
            if direct is None or not await self._directly(direct, claim, held):
                await _Exchange(claim, secret, held).answer_by(self._served)
        except Exception as error:  # noqa: BLE001 # a fault of ours: the handler's are answered
            held(failed_by(Fault("calling a handler", error)))
        finally:
            held.let_go(pending_after=False)
            if held.pending_after:
                self._on_late(delivery_of(claim), None)
        if held.fault:
            raise held.fault

    def let_go(self) -> None:
        """Let out all answers that wait, in whatever thread: a loop may be blocked."""
        for held in self._held.copy():
            held.let_go()

    async def _directly(self, direct: Direct, claim: Claim, held: Held) -> bool:
        """Call a handler with the payload; False if FastAPI has to say what is wrong with it."""
        media_type = next((v for n, v in claim.delivery.headers if n == "content-type"), "")
        if not media_type.lower().startswith("application/"):
            return False
        try:
            content = json.loads(mended(claim.delivery.body))
        except ValueError:
            return False
        try:
            payload = direct.validate(content, from_attributes=True)
        except ValidationError as error:
            found = error.errors(include_url=False)
            lines = [{**each, "loc": ("body", *each["loc"])} for each in found]
            held.at_once(Ending(REFUSED, 422, body=reasons(lines)))
            return True
        try:
            value = await direct.call(**{direct.parameter: payload})
        except BaseException as error:  # noqa: BLE001 # whatever it is, it is told
            if _is_fastapis(error):
                await (await self._rendering()).send_error(error, direct.room, held)
            else:
                held.at_once(ending_of(error))
            return True
        try:
            if _is_plain(value):
                held.at_once(ending_of_json(value))
            else:
                HELD.set(held)
                await (await self._rendering()).send(value, direct.room, held)
        except BaseException as error:  # noqa: BLE001 # whatever it is, it is told
            if held.is_answered:
                self._on_late(delivery_of(claim), users_traceback(error))
            else:
                held.at_once(unsendable(error, value))
        return True

    async def _rendering(self) -> Any:
        """Return what makes of an answer what FastAPI makes of it."""
        if self._fastapi is None:
            self._fastapi = await in_thread(import_module, RENDERING)
        return self._fastapi


def _is_plain(value: Any) -> bool:
    """Tell whether a value is JSON already, and FastAPI's encoder would leave it as it is."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return kind in PLAIN


def _is_fastapis(error: BaseException) -> bool:
    """Tell whether FastAPI, which a script has then imported, may have an answer to it."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return not modules.isdisjoint(("fastapi", "starlette"))


class _Exchange:
    """One call through an ASGI application: https://asgi.readthedocs.io/en/latest/specs."""

    def __init__(self, claim: Claim, secret: str | None, held: Held) -> None:
        self._scope = scope_of(claim, secret)
        self._body: bytes | None = claim.delivery.body
        self._held = held
        self._collected = Collected(held)

    async def answer_by(self, app: "ASGIApp") -> None:
        """Call an application for the answer; it may go on after that."""
        HELD.set(self._held)
        try:
            await app(self._scope, self._receive, self._collected.send)
        except BaseException as error:  # noqa: BLE001 # middleware raises again what it has answered
            self._held(self._held.ending_of(error))
        self._held(self._held.ending_of(RuntimeError("The application has not answered.")))

    async def _receive(self) -> "Message":
        if self._body is None:
            return await nothing_more()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


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


def scope_of(claim: Claim, secret: str | None) -> "Scope":
    """Return a delivery as the request it was, with what its handler may know of it.

    The secret is never recorded, but handlers that check it themselves want the current one on a
    retry.
    """
    delivery = claim.delivery
    named = [(name, value) for name, value in delivery.headers if is_carried(name)]
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
