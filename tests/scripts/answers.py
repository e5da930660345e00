"""Every kind of answer."""

from fastapi import HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from huggingface_hub import WebhookPayload, webhook_endpoint


@webhook_endpoint
def nothing(payload: WebhookPayload) -> None: ...


@webhook_endpoint
def a_list(payload: WebhookPayload) -> list[int]:
    return [1, 2]


@webhook_endpoint
def a_number(payload: WebhookPayload):
    return 7


@webhook_endpoint
def a_model(payload: WebhookPayload):
    return payload.event


@webhook_endpoint
def a_response(payload: WebhookPayload):
    return JSONResponse({"error": "no"}, status_code=400)


@webhook_endpoint
async def a_text(payload: WebhookPayload):
    return PlainTextResponse("ok")


@webhook_endpoint
async def a_stream(payload: WebhookPayload):
    return StreamingResponse(iter(["o", "k"]), media_type="text/plain")


@webhook_endpoint
async def an_exception(payload: WebhookPayload):
    raise HTTPException(status_code=418, detail="a teapot")
