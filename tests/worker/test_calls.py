"""A handler is called directly only where nobody could tell that from a call by FastAPI."""

import asyncio
import dataclasses
import enum
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from hfhooks import Delivery, Discard, Retry, WebhookPayload, WebhooksServer, webhook_endpoint
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.script.registry import Registry, collecting
from hfhooks.supervisor.targets import find_targets
from hfhooks.worker.app import build, direct_handlers
from hfhooks.worker.calls import Calls
from hfhooks.worker.compat import stand_in_for_huggingface_hub
from hfhooks.worker.loading import load
from tests.harness import PAYLOADS
from tests.worker.calling import Called, called

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts").glob("*.py"))
BODIES = [
    *(path.read_bytes() for path in PAYLOADS),
    b"\xef\xbb\xbf" + PAYLOADS[0].read_bytes(),
    rb'{"halves": "\ud83d \udc15 \\ud83d", "whole": "\ud83d\udc15"}',
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b"",
    b"{",
    b'{"a": NaN, "b": Infinity, "c": 1e999, "d": -0.0}',
    b'{"a": 1, "a": 2}',
    b'{"a": "\\ud800", "b": "\\u0000"}',
    b'{"number": "7", "name": "x", "when": "2026-11-27T00:00:00Z"}',
    b'{"number": 7.5, "name": null}',
    b'{"number": 12345678901234567890123, "alias": "y"}',
    b'{"number": true, "extra": {"deep": [1, [2, {"x": null}]]}}',
    "\ufeff{}".encode(),
    '{"name": "é\U0001f917"}'.encode(),
    '{"a": 1}'.encode("utf-16"),
    b'{"a": "\xff"}',
]
ASIDE: tuple[dict[str, str] | None, ...] = (
    {"content-type": "text/plain"},
    {"content-type": "application/x+json"},
    {},
    None,
)


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with collecting(Registry(is_served=True)) as registry:
        yield registry


async def both(app: FastAPI, name: str, body: bytes, **values: Any) -> Called:
    """Call a handler in both ways, which must come to the same; return what that is."""
    direct = await called(app, name, body, **values)
    by_app = await called(app, name, body, uses_direct=False, **values)
    one, other = direct.ending, by_app.ending
    is_error = one.kind == other.kind == "raised"
    if is_error:  # the frames of libraries between may be others
        assert one.body.splitlines()[-1:] == other.body.splitlines()[-1:]
        one, other = (dataclasses.replace(each, body=b"") for each in (one, other))
    assert one == other
    return direct


class Mine(BaseModel):
    number: int = 0
    name: str | None = Field(None, max_length=3)
    other: str = Field("", alias="alias")
    when: datetime | None = None


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    number: int


class Checked(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def is_small(cls, number: int) -> int:
        if number > 5:
            raise ValueError("too large")
        return number


class Derived(WebhookPayload):
    mine: int = 0


def bare(payload):  # type: ignore[no-untyped-def] # as people do
    return payload.repo.name


def model(payload: WebhookPayload) -> Any:
    return payload


def derived(payload: Derived) -> Any:
    return payload.mine


def mine(payload: Mine) -> Any:
    return payload


def strict(payload: Strict) -> Any:
    return payload


def checked(payload: Checked) -> Any:
    return payload.number


def plain(payload: dict) -> Any:  # type: ignore[type-arg] # as people do
    return payload


def typed(payload: dict[str, int]) -> Any:
    return payload


async def waits(payload: dict[str, Any]) -> Any:
    return len(payload)


def raises(payload: dict[str, Any]) -> Any:
    raise ValueError(sorted(payload))


def retries(payload: dict[str, Any]) -> Any:
    raise Retry("soon", after=3)


def discards(payload: dict[str, Any]) -> Any:
    raise Discard("no")


def refuses(payload: dict[str, Any]) -> Any:
    raise HTTPException(409, {"a": 1}, {"X-A": "b"})


def bodiless(payload: dict[str, Any]) -> Any:
    raise HTTPException(204)


def invalid(payload: dict[str, Any]) -> Any:
    raise RequestValidationError([])


def checks(payload: dict[str, Any]) -> Any:
    return Mine.model_validate({"number": "x"})


DIRECT = [
    bare, model, derived, mine, strict, checked, plain, typed, waits, raises, retries, discards,
    refuses, bodiless, invalid, checks,
]  # fmt: skip


@pytest.mark.parametrize("handler", DIRECT, ids=lambda handler: handler.__name__)
async def test_whatever_comes_means_the_same_both_ways(registry: Registry, handler: Any) -> None:
    webhook_endpoint("/h")(handler)
    app, _ = build(registry)
    assert "h" in direct_handlers(app)
    for body in BODIES:
        for headers in ASIDE:
            await both(app, "h", body, headers=headers)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
async def test_handlers_as_people_write_them_answer_the_same_both_ways(
    path: Path, own_interpreter: None
) -> None:
    stand_in_for_huggingface_hub()
    app, endpoints = build(load(find_targets([str(path)])))
    for endpoint in endpoints:
        for payload in PAYLOADS:
            await both(app, endpoint.name, payload.read_bytes(), headers={"webhook-id": "w1"})


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Pair:
    left: int
    right: "Pair | None" = None


class Own:
    def __init__(self) -> None:
        self.visible, self._hidden = 1, 2


class Loop(dict[str, Any]):
    """A dictionary of somebody's own kind."""


async def chunks() -> Any:
    yield b"a"
    yield b"b"


ANSWERS: list[Callable[[], Any]] = [
    lambda: {"a": [1, 2.5, None, True, {"b": "é"}]},
    lambda: {7: "a", None: 2, True: 3, 2.5: 4},
    lambda: [math.nan],
    lambda: {"a": math.inf},
    lambda: 10**40,
    lambda: "\ud800",
    lambda: {"\ud800": 1},
    lambda: b"bytes",
    lambda: b"\xff",
    lambda: (1, 2),
    lambda: {1, 2},
    lambda: frozenset(["a"]),
    lambda: iter([1, 2]),
    lambda: range(3),
    lambda: Decimal("1.10"),
    lambda: Decimal("NaN"),
    lambda: datetime(2026, 11, 27, tzinfo=UTC),
    lambda: date(2026, 11, 27),
    lambda: timedelta(seconds=1.5),
    lambda: UUID(int=1),
    lambda: PurePosixPath("/a"),
    lambda: Colour.RED,
    lambda: {Colour.RED: Colour.RED},
    lambda: Point(1, 2),
    lambda: Pair(1, Pair(2)),
    lambda: Own(),
    lambda: Loop(a=1),
    lambda: object(),
    lambda: Mine(number=1, alias="x"),
    lambda: [Mine(), {"m": Mine()}],
    lambda: ValueError("an exception that is returned"),
    lambda: JSONResponse({"a": 1}, 418, {"x-a": "b"}),
    lambda: HTMLResponse("<p>"),
    lambda: RedirectResponse("/elsewhere"),
    lambda: Response(b"x", 201, {"Content-Length": "99", "Connection": "close"}),
    lambda: Response(status_code=204),
    lambda: Response(status_code=101),
    lambda: StreamingResponse(chunks()),
    lambda: Response("later", background=None),
]


@pytest.mark.parametrize("number", range(len(ANSWERS)))
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_is_returned_is_the_same_answer(
    registry: Registry, number: int, is_async: bool
) -> None:
    if is_async:

        @webhook_endpoint("/h")
        async def handler(payload: dict[str, Any]) -> Any:
            return ANSWERS[number]()

    else:

        @webhook_endpoint("/h")
        def handler(payload: dict[str, Any]) -> Any:
            return ANSWERS[number]()

    app, _ = build(registry)
    assert "h" in direct_handlers(app)
    await both(app, "h", b"{}")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


@given(VALUES)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_value_is_the_same_answer(value: Any) -> None:
    with collecting(Registry(is_served=True)) as registry:

        @webhook_endpoint("/h")
        async def handler(payload: dict[str, Any]) -> Any:
            return value

        app, _ = build(registry)
    await both(app, "h", b"{}")


async def test_what_runs_after_the_answer_runs_once_and_its_failure_is_told(
    registry: Registry,
) -> None:
    ran: list[int] = []

    def task() -> None:
        ran.append(1)
        raise RuntimeError("too late")

    @webhook_endpoint("/h")
    def handler(payload: dict[str, Any]) -> Any:
        tasks = BackgroundTasks()
        tasks.add_task(task)
        return JSONResponse("done", background=tasks)

    app, _ = build(registry)
    result = await both(app, "h", b"{}", id=17)
    assert (result.text, len(ran)) == ('"done"', 2)
    [(id, error)] = result.late
    assert id == 17 and error.endswith("RuntimeError: too late\n")


async def stops_itself(payload: dict[str, Any]) -> Any:
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.Event().wait()


async def stops_itself_by_app(request: Request) -> Any:
    await stops_itself({})


@pytest.mark.parametrize("handler", [stops_itself, stops_itself_by_app])
async def test_a_handler_whose_task_is_cancelled_has_an_ending(
    registry: Registry, handler: Any
) -> None:
    webhook_endpoint("/h")(handler)
    ending = (await both(build(registry)[0], "h", b"{}")).ending
    assert ending.kind == "raised" and ending.body.splitlines()[-1].endswith(b"CancelledError")


def nothing() -> dict[str, Any]:
    return {}


def with_request(request: Request) -> None: ...
def with_delivery(payload: WebhookPayload, delivery: Delivery) -> None: ...
def with_tasks(payload: WebhookPayload, tasks: BackgroundTasks) -> None: ...
def with_header(payload: Annotated[str, Header()]) -> None: ...
def with_body(payload: Annotated[dict[str, Any], Body(embed=True)]) -> None: ...
def with_dependency(payload: Annotated[dict[str, Any], Depends(nothing)]) -> None: ...
def with_default(payload: WebhookPayload | None = None) -> None: ...
def of_a_union(payload: Mine | Strict) -> None: ...
def of_a_list(payload: list[int]) -> None: ...
def of_any(payload: Any) -> None: ...
def with_nothing() -> None: ...
def generates(payload: dict[str, Any]) -> Any:
    yield 1


@pytest.mark.parametrize(
    "handler",
    [
        with_request, with_delivery, with_tasks, with_header, with_body, with_dependency,
        with_default, of_a_union, of_a_list, of_any, with_nothing, generates,
    ],
    ids=lambda handler: handler.__name__,
)  # fmt: skip
def test_whoever_wants_more_than_the_payload_gets_it_by_fastapi(
    registry: Registry, handler: Any
) -> None:
    webhook_endpoint("/h")(handler)
    assert direct_handlers(build(registry)[0]) == {}


async def middleware(request: Request, call_next: Any) -> Any:
    return await call_next(request)


WRAPS: dict[str, Callable[[FastAPI], object]] = {
    "middleware": lambda app: app.middleware("http")(middleware),
    "a handler of exceptions": lambda app: app.exception_handler(ValueError)(middleware),
    "a handler of a status": lambda app: app.exception_handler(404)(middleware),
    "a handler of refusals": lambda app: app.exception_handler(RequestValidationError)(middleware),
    "a handler of everything": lambda app: app.exception_handler(Exception)(middleware),
    "an override": lambda app: app.dependency_overrides.update({dict: dict}),
    "a dependency": lambda app: app.router.dependencies.append(Depends(nothing)),
    "a response class": lambda app: setattr(app.router, "default_response_class", HTMLResponse),
}


@pytest.mark.parametrize("name", WRAPS)
def test_where_the_author_wraps_all_calls_all_go_by_fastapi(registry: Registry, name: str) -> None:
    server = WebhooksServer()
    server.add_webhook("/h")(plain)
    assert "h" in direct_handlers(build(registry)[0])
    WRAPS[name](server.fastapi_app)
    assert direct_handlers(build(registry)[0]) == {}


def test_a_page_beside_them_changes_nothing(registry: Registry) -> None:
    server = WebhooksServer()
    server.add_webhook("/h")(plain)
    router = APIRouter()
    router.get("/page")(with_nothing)
    server.fastapi_app.include_router(router)
    assert "h" in direct_handlers(build(registry)[0])


async def test_a_fault_of_ours_is_an_ending_too(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_endpoint("/h")(plain)
    app, _ = build(registry)
    strange: Any = {"received_at": "yesterday"}
    result = await called(app, "h", b"{}", uses_direct=False, **strange)
    assert result.kind == "raised" and "a fault in calling a handler" in result.text


@pytest.mark.parametrize("uses_direct", [True, False])
async def test_an_answer_that_cannot_be_told_is_an_ending_too(
    registry: Registry, uses_direct: bool
) -> None:
    webhook_endpoint("/h")(plain)
    app, _ = build(registry)
    tried: list[Ending] = []

    def answered(ending: Ending) -> None:
        tried.append(ending)
        if ending.kind == "answered":
            raise LookupError("it cannot be told")

    call = Calls(direct_handlers(app) if uses_direct else {}, app, lambda *_: None)
    delivery = Recorded("h", 0.0, "", (("content-type", "application/json"),), b"{}")
    await call(Claim(1, delivery, 1, ""), None, answered)
    assert [ending.kind for ending in tried] == ["answered", "raised"]
