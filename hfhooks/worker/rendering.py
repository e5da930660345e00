"""What FastAPI makes of what a handler returns or raises. This imports FastAPI."""

from collections.abc import Callable
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from hfhooks.model.ending import REFUSED, Ending
from hfhooks.worker.after import Room
from hfhooks.worker.endings import ending_of, reasons
from hfhooks.worker.whole import Collected, ending_of_json, nothing_more

__all__ = ["send", "send_error"]


async def send(value: Any, room: Room, end: Callable[[Ending], None]) -> None:
    """Send what a handler has returned; run what it left to be done."""
    if isinstance(value, Response):
        room.bound(value)
        scope: Scope = {"type": "http", "method": "POST", "headers": []}
        await value(scope, nothing_more, Collected(end).send)
    else:
        end(ending_of_json(jsonable_encoder(value)))


async def send_error(error: BaseException, room: Room, end: Callable[[Ending], None]) -> None:
    """Send what FastAPI answers to an exception of its own, or tell what was raised."""
    if isinstance(error, RequestValidationError):
        end(Ending(REFUSED, 422, body=reasons(error.errors())))
    elif isinstance(error, HTTPException):
        request: Any = None  # which FastAPI does not look at
        try:
            await send(await http_exception_handler(request, error), room, end)
        except Exception as its_own:  # noqa: BLE001 # its detail is no JSON, for one
            end(ending_of(its_own))
    else:
        end(ending_of(error))
