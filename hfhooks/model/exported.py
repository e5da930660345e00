"""A delivery as a file: what `deliveries export` writes and `replay` reads, byte for byte."""

import base64
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfhooks.model.delivery import Recorded

__all__ = ["MARK", "VERSION", "Exported", "encoded"]

MARK = "hfhooks_delivery"
VERSION = 1
MOST_ON_A_LINE = 100_000
"""Bytes of a payload that a command line can hold everywhere."""


@dataclass(frozen=True)
class Exported:
    """A delivery without what became of it."""

    endpoint: str | None
    """None where it is still to be chosen."""
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""
    received_at: float | None = None
    """Seconds since 1970."""

    @property
    def payload(self) -> dict[str, Any]:
        """The body as the JSON object it is, empty where it is none."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    @classmethod
    def of(cls, delivery: Recorded) -> "Exported":
        """Return a delivery that is recorded."""
        return cls(
            delivery.endpoint,
            delivery.body,
            delivery.headers,
            delivery.query,
            delivery.received_at,
        )

    @classmethod
    def is_one(cls, content: Mapping[str, Any]) -> bool:
        """Tell whether a JSON object is an exported delivery, and no payload."""
        return MARK in content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Exported":
        """Return what was written. Raises `ValueError` for what is damaged, or of another time."""
        if content[MARK] != VERSION:
            raise ValueError(f"version {content[MARK]!r} of an exported delivery is not known.")
        try:
            text = content.get("body")
            body = base64.b64decode(content["body_base64"]) if text is None else text.encode()
            headers = tuple((str(name), str(value)) for name, value in content["headers"])
            endpoint = content["endpoint"] and str(content["endpoint"])
            return cls(endpoint, body, headers, str(content["query"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"the exported delivery is damaged: {error!r}.") from error

    def as_curl(self, url: str) -> str:
        """Return a command that sends it to this URL. Raises `ValueError` for bytes it cannot."""
        if b"\0" in self.body:
            raise ValueError("no command line can hold a zero byte.")
        if len(self.body) > MOST_ON_A_LINE:
            raise ValueError(
                "too large for a command line. Without --curl it is a file for replay."
            )
        body = self.body.decode("utf-8", "surrogateescape")
        target = url + (f"?{self.query}" if self.query else "")
        parts = [f"curl -s {shlex.quote(target)}"]
        parts += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers]
        parts.append(f"--data-binary {shlex.quote(body if body[:1] != '@' else ' ' + body)}")
        return " \\\n  ".join(parts)

    def as_test(self, id: int, script: str) -> str:
        """Return a regression test for pytest. Raises `ValueError` for what is no JSON.

        `script` is the module that has the handler.
        """
        payload = json.loads(self.body)
        if not script.isidentifier():
            raise ValueError(f"a test cannot import {script!r}: that is no name of a module.")
        return TEST.format(
            name=re.sub(r"\W", "_", self.endpoint or ""),
            endpoint=self.endpoint,
            script=script,
            id=id,
            payload=json.dumps(json.dumps(payload)),
        )


def encoded(payload: Any) -> bytes:
    """Return a payload as the Hub writes it, but for what is no text: that in JSON's escapes."""
    try:
        return json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(payload).encode()


TEST = """\
import json

from hfhooks.testing import deliver

import {script}


def test_{name}_handles_delivery_{id}():
    payload = json.loads({payload})
    result = deliver({script}, payload, to="{endpoint}")
    assert result.status == "succeeded", result.error
"""
