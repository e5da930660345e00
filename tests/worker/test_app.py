from __future__ import annotations

import asyncio
import functools
import math
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware

from hfhooks import Delivery, Discard, Retry, WebhookPayload, WebhooksServer, webhook_endpoint
from hfhooks.errors import EndpointError, SecretError
from hfhooks.script.registry import Registry, collecting
from hfhooks.worker.app import build
from tests.harness import JSON, payload_bytes
from tests.worker.calling import Call, Called, called

if TYPE_CHECKING:
    from decimal import Decimal

PULL = payload_bytes("pr_create_v3_docs")


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with collecting(Registry(is_served=True)) as registry:
        yield registry


def built(registry: Registry) -> Any:
    return build(registry)


@pytest.fixture(params=[True, False], ids=["as it is", "by the app"])
def call(registry: Registry, request: pytest.FixtureRequest) -> Call:
    """Return a function that has a handler called: directly where that is all, or by FastAPI."""

    async def call(name: str, body: bytes = PULL, **values: Any) -> Called:
        app, _ = built(registry)
        return await called(app, name, body, uses_direct=request.param, **values)

    return call


class Pull(BaseModel):
    event: dict[str, str]


def repo_name(body: WebhookPayload) -> str:
    return body.repo.name


def bare(payload):  # type: ignore[no-untyped-def] # handlers without annotations are common
    return payload.repo.name


def any_word(whatever: Any) -> Any:
    return whatever["repo"]["name"]


def plain_dict(data: dict[str, Any]) -> Any:
    return data["repo"]["name"]


def own_model(pull: Pull) -> str:
    return pull.event["scope"]


async def whole_request(r: Request) -> int:
    return len(await r.body())


def nothing() -> str:
    return "ran"


def later(payload: WebhookPayload, tasks: BackgroundTasks) -> str:
    tasks.add_task(print, "later")
    return payload.event.action


def with_header(payload: WebhookPayload, webhook_id: Annotated[str, Header()]) -> str:
    return webhook_id


def with_dependency(name: Annotated[str, Depends(repo_name)]) -> str:
    return name


def with_types_for_checkers_only(payload: WebhookPayload) -> Decimal:
    return payload.repo.name  # type: ignore[return-value] # only the annotation matters


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        (repo_name, "openai-community/gpt2"),
        (bare, "openai-community/gpt2"),
        (any_word, "openai-community/gpt2"),
        (plain_dict, "openai-community/gpt2"),
        (own_model, "discussion"),
        (whole_request, len(PULL)),
        (nothing, "ran"),
        (later, "create"),
        (with_header, "w1"),
        (with_dependency, "openai-community/gpt2"),
        (with_types_for_checkers_only, "openai-community/gpt2"),
        (functools.partial(repo_name), "openai-community/gpt2"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_parameters_go_by_annotation(call: Any, handler: Any, answer: Any) -> None:
    webhook_endpoint("/h")(handler)
    response = await call("h", headers={"webhook-id": "w1"})
    assert (response.status_code, response.json()) == (200, answer)


class Bot:
    def __call__(self, payload: WebhookPayload) -> str:
        return "called"

    async def answer(self, payload: WebhookPayload) -> str:
        return "answered"


async def test_objects_and_methods_can_be_handlers(call: Any) -> None:
    webhook_endpoint("/object")(Bot())
    webhook_endpoint("/method")(Bot().answer)
    assert (await call("object")).json() == "called"
    assert (await call("method")).json() == "answered"


class AsyncBot:
    async def __call__(self, payload: WebhookPayload) -> str:
        return threading.current_thread().name


async def test_async_handlers_run_on_the_loop_and_others_in_threads(call: Any) -> None:
    @webhook_endpoint
    def in_thread() -> str:
        return threading.current_thread().name

    webhook_endpoint("/object")(AsyncBot())
    assert (await call("in_thread")).json() != "MainThread"
    assert (await call("object")).json() == "MainThread"


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, None),
        ({"a": 1}, {"a": 1}),
        ([1], [1]),
        ("text", "text"),
        (7, 7),
        (Pull(event={"scope": "repo"}), {"event": {"scope": "repo"}}),
    ],
)
async def test_results_are_rendered_as_fastapi_does(call: Any, value: Any, answer: Any) -> None:
    @webhook_endpoint
    def handler() -> None:
        return value  # type: ignore[no-any-return] # as scripts do

    response = await call("handler")
    assert (response.status_code, response.json()) == (200, answer)


async def test_an_annotation_of_the_result_drops_nothing(call: Any) -> None:
    @webhook_endpoint
    def handler() -> str | Response | None:
        return {"a": 1}  # type: ignore[return-value] # as scripts do

    assert (await call("handler")).json() == {"a": 1}


async def test_an_exception_is_reported_from_the_users_first_frame_on(call: Any) -> None:
    def inner() -> None:
        raise KeyError("missing")

    @webhook_endpoint
    async def handler() -> None:
        inner()

    response = await call("handler")
    assert response.status_code == 500
    assert response.kind == "raised"
    assert "starlette" not in response.text and "hfhooks/worker" not in response.text
    lines = response.text.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "test_app.py" in lines[1] and lines[-1] == "KeyError: 'missing'"


async def test_sys_exit_in_a_handler_is_an_exception(call: Any) -> None:
    @webhook_endpoint
    def handler() -> None:
        raise SystemExit(1)

    assert (await call("handler")).kind == "raised"


async def test_an_exception_of_odd_characters_is_reported(call: Any) -> None:
    @webhook_endpoint
    def handler() -> None:
        raise ValueError("\ud800 \x1b")

    assert (await call("handler")).text.endswith("ValueError: \\ud800 \x1b\n")


class Slotted:
    __slots__ = ()


class Model(BaseModel):
    loss: float


CIRCLE: dict[str, Any] = {}
CIRCLE["me"] = [CIRCLE]
NO_JSON = "which is no JSON"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"loss": {"eval": math.nan}}, "loss.eval is nan"),
        ([1, -math.inf], "[1] is -inf"),
        (math.inf, "the answer is inf"),
        (
            {"runs": [{"model": Slotted()}]},
            f"runs[0].model is of type {__name__}.Slotted, {NO_JSON}",
        ),
        (object(), f"the answer is of type object, {NO_JSON}"),
        ({"file": os.fsdecode(b"\xff.bin")}, "file has half of a character in it"),
        ({"file": b"\xff"}, "file is bytes that are no text"),
        (CIRCLE, "me[0] contains itself"),
        ({"best": Model(loss=math.nan)}, "best.loss is nan"),
        ("x" * (16 * 1024 * 1024), "ValueError: an answer of more than 16777216 bytes"),
        (FileResponse("/nowhere"), "RuntimeError: File at path /nowhere does not exist."),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_that_has_returned_has_ended_well_whatever_it_was(
    call: Any, value: Any, why: str, is_async: bool
) -> None:
    if is_async:

        @webhook_endpoint("/odd")
        async def odd(payload: dict[str, Any]) -> Any:
            return value

    else:

        @webhook_endpoint("/odd")
        def odd(payload: dict[str, Any]) -> Any:
            return value

    ended = await call("odd")
    assert (ended.kind, ended.status_code, ended.text) == ("unsendable", 200, why)


async def test_what_a_handler_yields_is_its_own_doing(call: Any) -> None:
    @webhook_endpoint
    def handler() -> Iterator[int]:
        yield 1
        raise ArithmeticError

    assert (await call("handler")).kind == "raised"


async def test_what_is_raised_around_a_handler_that_has_returned_does_not_run_it_again(
    registry: Registry,
) -> None:
    @webhook_endpoint
    async def handler() -> None:
        return None

    app, _ = built(registry)

    async def breaks(request: Request, call_next: Any) -> Response:
        await call_next(request)
        raise ArithmeticError("in between")

    app.add_middleware(BaseHTTPMiddleware, dispatch=breaks)
    ended = await called(app, "handler", uses_direct=False)
    assert (ended.kind, ended.text) == ("unsendable", "ArithmeticError: in between")


async def test_an_http_exception_is_no_report(call: Any) -> None:
    @webhook_endpoint
    def handler() -> None:
        raise HTTPException(418, "tea")

    response = await call("handler")
    assert (response.status_code, response.json()) == (418, {"detail": "tea"})
    assert response.kind == "answered"


async def test_a_payload_that_does_not_fit_is_refused_without_showing_it(call: Any) -> None:
    webhook_endpoint("/h")(repo_name)
    response = await call("h", b'{"event": "secret words", "repo": {}}')
    assert (response.status_code, response.kind) == (422, "refused")
    assert "body.repo.name: Field required" in response.text
    assert "secret words" not in response.text


def test_what_the_gateway_must_know(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "shared")
    monkeypatch.setenv("WEBHOOK_SECRET_PREVIOUS", "before")
    webhook_endpoint("/json")(repo_name)
    webhook_endpoint("/nothing")(nothing)
    webhook_endpoint("/raw")(whole_request)
    WebhooksServer(webhook_secret="own").add_webhook("/own")(repo_name)
    _, endpoints = built(registry)
    assert [(row.name, row.takes_json, row.secrets) for row in endpoints] == [
        ("json", True, ("shared", "before")),
        ("nothing", True, ("shared", "before")),
        ("raw", False, ("shared", "before")),
        ("own", True, ("own",)),
    ]


@pytest.mark.parametrize("secret", ["", "  ", "clé"])
def test_a_secret_that_protects_nothing_starts_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    with pytest.raises(SecretError, match="WEBHOOK_SECRET"):
        built(registry)


def starred(*payloads: Any) -> None: ...


def by_position(payload: Any, /) -> None: ...


def unknown_type(payload: NoSuchName) -> None: ...  # type: ignore[name-defined] # noqa: F821 # wrong on purpose


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (starred, "*payloads: Any cannot be given by name"),
        (by_position, "payload: Any cannot be given by name"),
        (unknown_type, "NoSuchName"),
    ],
)
def test_a_signature_that_cannot_be_filled_is_told_at_load(
    registry: Registry, handler: Any, words: str
) -> None:
    webhook_endpoint(handler)
    with pytest.raises(EndpointError) as caught:
        built(registry)
    assert words in str(caught.value)
    assert f"test_app.py:{handler.__code__.co_firstlineno}" in str(caught.value)


def test_there_are_no_pages_about_the_app(registry: Registry) -> None:
    webhook_endpoint(nothing)
    app, _ = built(registry)
    assert [route.path for route in app.routes] == ["/webhooks/nothing"]


async def test_a_handler_may_ask_for_its_delivery(call: Any) -> None:
    seen: list[Delivery] = []

    @webhook_endpoint
    def ask(delivery: Delivery, payload: WebhookPayload) -> None:
        seen.append(delivery)

    known = {"webhook_id": "w1", "origin": "replay", "received_at": 60.5}
    await call("ask", id=17, number=2, **known)
    received_at = datetime(1970, 1, 1, 0, 1, 0, 500_000, UTC)
    assert seen == [Delivery(17, "w1", 2, True, received_at)]


async def test_without_a_gateway_a_delivery_is_the_first(registry: Registry) -> None:
    seen: list[Delivery] = []

    @webhook_endpoint
    async def ask(which: Delivery) -> None:
        seen.append(which)

    answer = await posted(built(registry)[0], "ask", **{"webhook-id": "w2"})
    assert answer.status_code == 200
    [delivery] = seen
    assert (delivery.id, delivery.webhook_id, delivery.attempt) == (0, "w2", 1)


async def posted(app: Any, name: str, **headers: str) -> httpx.Response:
    """Send something to an app as its own server would."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://w") as http:
        return await http.post(f"/webhooks/{name}", content=PULL, headers=JSON | headers)


@pytest.mark.parametrize(
    ("error", "kind", "after", "text"),
    [
        (Retry("busy", after=60), "retry", 60, "busy"),
        (Retry(after=0.5), "retry", 0.5, ""),
        (Retry("busy"), "retry", None, "busy"),
        (Discard("why"), "discarded", None, "why"),
    ],
)
async def test_what_a_handler_says_by_raising(
    call: Any, error: Exception, kind: str, after: float | None, text: str
) -> None:
    @webhook_endpoint
    def speak() -> None:
        raise error

    answer = await call("speak")
    assert (answer.status_code, answer.text) == (500, text)
    assert (answer.kind, answer.retry_after) == (kind, after)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1_000_000


async def broken() -> AsyncIterator[bytes]:
    yield b"half an answer"
    raise RuntimeError("and no more")


class Odd(BaseException):
    pass


class Leaves(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def cancelled() -> None:
    raise asyncio.CancelledError


def raises(error: BaseException) -> Callable[[], None]:
    def handler() -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (raises(Odd("odd")), "Odd: odd"),
        (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raises(StopIteration()), "the handler raised StopIteration"),
        (raises(HTTPException(400, detail=object())), "not JSON serializable"),
        (cancelled, "CancelledError"),
        (raises(GeneratorExit()), "GeneratorExit"),
        (raises(Leaves()), "Leaves"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_is_no_whole_answer_is_told_once(
    call: Any, handler: Any, words: str, is_async: bool
) -> None:
    if is_async:

        @webhook_endpoint("/odd")
        async def odd() -> Any:
            return handler()

    else:

        @webhook_endpoint("/odd")
        def odd() -> Any:
            return handler()

    if is_async and "StopIteration" in words:
        words = "StopIteration"  # which a coroutine turns into a RuntimeError itself
    answer = await call("odd")
    assert (answer.status_code, answer.kind) == (500, "raised")
    assert words in answer.text


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (lambda: StreamingResponse(endless()), "an answer of more than 16777216 bytes"),
        (lambda: StreamingResponse(broken()), "RuntimeError: and no more"),
        (lambda: Response(status_code=101), "the status of an answer is 200 to 599, not 101"),
        (lambda: Response(status_code=999), "the status of an answer is 200 to 599, not 999"),
        (lambda: Response("a", headers={"x-a": "b\r\nset-cookie: c=d"}), "the header b'x-a' of"),
        (lambda: Response("a", headers={"x a:": "b"}), "the header b'x a:' of"),
        (lambda: Response("a", headers={"": "b"}), "the header b'' of"),
    ],
)
async def test_a_response_that_cannot_be_sent_whole_is_not_sent(
    call: Any, response: Callable[[], Response], words: str
) -> None:
    @webhook_endpoint("/odd")
    def odd(payload: dict[str, Any]) -> Any:
        return response()

    ended = await call("odd")
    assert (ended.kind, ended.status_code) == ("unsendable", 200)
    assert words in ended.text


async def test_an_answer_says_nothing_of_its_length(call: Any) -> None:
    @webhook_endpoint
    def lies() -> Response:
        return Response(b"0123456789", headers={"content-length": "5"})

    answer = await call("lies")
    assert answer.content == b"0123456789" and "content-length" not in answer.headers


async def test_headers_copied_from_another_answer_do_not_break_ours(call: Any) -> None:
    @webhook_endpoint
    def forwards() -> Response:
        copied = {"Transfer-Encoding": "chunked", "Connection": "close", "X-Theirs": "1"}
        return Response(b"theirs", headers=copied)

    answer = await call("forwards")
    assert (answer.content, answer.headers["x-theirs"]) == (b"theirs", "1")
    assert "transfer-encoding" not in answer.headers and "connection" not in answer.headers


async def test_a_streamed_answer_comes_whole(call: Any) -> None:
    @webhook_endpoint
    def streams() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b", "c"]))

    assert (await call("streams")).text == "abc"


async def test_a_background_task_that_fails_is_told_and_the_answer_stays(call: Any) -> None:
    @webhook_endpoint
    def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(raises(RuntimeError("too late")))
        return "done"

    answer = await call("later", id=17)
    assert answer.json() == "done"
    [(id, error)] = answer.late
    assert id == 17 and error.endswith("RuntimeError: too late\n")


async def test_where_nobody_hears_what_fails_later_is_logged(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    @webhook_endpoint
    def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(raises(RuntimeError("too late")))
        return "done"

    assert (await posted(built(registry)[0], "later")).json() == "done"
    assert "too late" in caplog.text


async def test_a_status_beside_the_answer_is_told_once(
    call: Any, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    def pair(payload: dict[str, Any]) -> Any:
        return {"error": "no"}, 422

    @webhook_endpoint
    def other_pair(payload: dict[str, Any]) -> Any:
        return "a", 7

    pair.__name__ = f"pair_{id(registry)}"  # once in a process
    webhook_endpoint("/pair")(pair)
    for name in ("pair", "pair", "other_pair"):
        assert (await call(name)).status_code == 200
    [said] = caplog.messages
    returned = f"{pair.__name__} returned (..., 422), which is sent as a list, with status 200."
    assert said.startswith(returned)
    assert "JSONResponse(content, status_code=422)" in said


async def test_a_decorator_that_knows_no_async_is_no_trouble(call: Callable[..., Any]) -> None:
    def logged(handler: Any) -> Any:
        @functools.wraps(handler)
        def wrapper(*args: Any, **options: Any) -> Any:
            return handler(*args, **options)

        return wrapper

    @webhook_endpoint
    @logged
    async def wrapped(payload: WebhookPayload) -> str | None:
        await asyncio.sleep(0)
        return payload.repo.name

    webhook_endpoint("lambda")(lambda payload: wrapped(payload))
    for name in ("wrapped", "lambda"):
        assert (await call(name)).json() == "openai-community/gpt2"


async def test_a_def_that_runs_a_loop_of_its_own_may(call: Callable[..., Any]) -> None:
    async def inner(payload: WebhookPayload) -> str | None:
        return payload.repo.name

    @webhook_endpoint
    @functools.wraps(inner)
    def outer(payload: WebhookPayload) -> Any:
        return asyncio.run(inner(payload))

    assert (await call("inner")).json() == "openai-community/gpt2"


async def test_what_a_partial_has_given_no_sender_can_change(call: Callable[..., Any]) -> None:
    def handler(payload: WebhookPayload, mode: str, lock: Any) -> list[Any]:
        return [mode, lock is guard]

    guard = threading.Lock()
    webhook_endpoint("bound")(functools.partial(handler, mode="safe", lock=guard))
    assert (await call("bound?mode=evil&lock=1")).json() == ["safe", True]


async def test_a_request_has_the_headers_that_were_sent(call: Callable[..., Any]) -> None:
    @webhook_endpoint
    def names(request: Request, delivery: Delivery) -> list[Any]:
        ours = [name for name in request.headers if name.startswith("hfhooks-")]
        return [ours, delivery.id]

    answer = await call("names", id=17, headers={"hfhooks-token": "t0ken"})
    assert answer.json() == [[], 17]


async def test_a_middleware_that_raises_is_as_a_handler_that_does(
    registry: Registry,
) -> None:
    server = WebhooksServer()

    @server.add_webhook
    def never(payload: WebhookPayload) -> None: ...

    @server.fastapi_app.middleware("http")
    async def raises(request: Request, call_next: Any) -> Any:
        raise RuntimeError("no database")

    app, _ = built(registry)
    answer = await called(app, "never")
    assert answer.kind == "raised" and "RuntimeError: no database" in answer.text
    page = await posted(app, "never")
    assert (page.status_code, page.text) == (500, "Internal Server Error")


async def test_a_group_of_tasks_that_fails_is_a_handler_that_raises(
    call: Callable[..., Any],
) -> None:
    async def fails() -> None:
        raise ValueError("no")

    @webhook_endpoint
    async def group(payload: WebhookPayload) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())

    assert (await call("group")).kind == "raised"
