"""A request becomes a delivery, or is refused."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from pydantic_core import from_json

from hfhooks.model.delivery import Recorded
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.events import event_of, repo_of
from hfhooks.model.json_text import MOST_PARTS, count_parts, is_too_deep, mended
from hfhooks.model.refusal import Refusal
from hfhooks.redact import redact

__all__ = ["check_media_type", "receive"]

SECRET = "secret"  # noqa: S105 # the name of a parameter
WEBHOOK_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def check_media_type(endpoint: Endpoint, fields: Mapping[str, str]) -> None:
    """Accept uncompressed JSON, or anything if the handler reads it itself. Raises `Refusal`."""
    if not endpoint.takes_json:
        return
    content_type = fields.get("content-type", "")
    if content_type == "application/json" and "content-encoding" not in fields:  # as of the Hub
        return
    media_type = content_type.partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if not is_json or fields.get("content-encoding", "identity").lower() != "identity":
        encoding = fields.get("content-encoding")
        came = f"Content-Encoding: {encoding}" if is_json else f"Content-Type: {content_type}"
        hint = f"{endpoint.path} takes JSON as it is, Content-Type: application/json, not {came}."
        raise Refusal(415, "unsupported_media_type", hint=hint)


def receive(
    endpoint: Endpoint,
    *,
    query: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    received_at: float,
    origin: str = "hub",
    most_parts: int = MOST_PARTS,
) -> tuple[Recorded, str | None]:
    """Return the delivery that a request is, and why the endpoint does not want it, if so.

    Names of headers are lower case. Raises `Refusal` for a body that is no JSON object, or one that
    is too deep or has more than `most_parts`, where the handler does not read it itself.
    """
    try:
        payload = _payload(body, most_parts)
    except Refusal:
        if endpoint.takes_json:
            raise
        payload = {}
    mismatch = endpoint.filter.mismatch(payload)
    event = event_of(payload)
    webhook_id = dict(reversed(headers)).get("webhook-id")  # the first, if there are two
    delivery = Recorded(
        endpoint=endpoint.name,
        received_at=received_at,
        query=without_secret(query),
        headers=tuple(headers),
        body=body,
        event=str(event) if event else None,
        repo=repo_of(payload),
        webhook_id=webhook_id if _is_id(webhook_id) else None,
        origin=origin,
        status="ignored" if mismatch else "queued",
    )
    return delivery, mismatch


def without_secret(query: str) -> str:
    """Return a query as it may be recorded."""
    if SECRET not in query.lower() and "%" not in query:
        return query
    parts = query.split("&")
    return "&".join(p for p in parts if unquote_plus(p.partition("=")[0]).lower() != SECRET)


def _is_id(text: str | None) -> bool:
    """Tell whether this may be recorded as a webhook's id: no secret is one."""
    return text is not None and bool(WEBHOOK_ID.fullmatch(text)) and redact(text) == text


def _payload(body: bytes, most_parts: int) -> dict[str, Any]:
    if len(body) > most_parts and count_parts(body) > most_parts:
        raise Refusal(413, "too_many_parts")
    try:
        payload = from_json(mended(body), allow_inf_nan=False)
    except ValueError as error:
        if "recursion limit" in str(error):
            raise Refusal(413, "too_deep") from error
        raise Refusal(400, "not_json") from error
    if is_too_deep(body, payload):
        raise Refusal(413, "too_deep")
    if not isinstance(payload, dict):
        raise Refusal(400, "not_object")
    return payload
