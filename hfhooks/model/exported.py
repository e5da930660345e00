"""A delivery as a file: what `deliveries export` writes and `replay` reads, byte for byte."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any
from urllib.parse import quote

from hfhooks.model.delivery import Recorded
from hfhooks.model.headers import carried

__all__ = ["MARK", "VERSION", "Exported", "encoded"]

MARK = "hfhooks_delivery"
VERSION = 1
MOST_ON_A_LINE = 100_000
"""Characters of a payload that a command line can hold everywhere."""
UNPLAIN = re.compile(rb"^-|[^A-Za-z0-9 \"#()*+,./:;=?@\[\]_{}~-]+")
"""Bytes that may mean something within a shell's quotes or a format, or steer a terminal."""
IN_URL = "%/:?=&+,;@[]{}()*~"
"""What stays as it is in a URL in quotes."""


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
        """Return a command that sends it to this URL. Raises `ValueError` for what is too large."""
        body = _octal(self.body)
        if len(body) > MOST_ON_A_LINE:
            raise ValueError(
                "too large for a command line. Without --curl it is a file for replay."
            )
        target = quote(url, safe=IN_URL)
        if self.query:
            target += f"?{quote(self.query, safe=IN_URL, encoding='latin-1', errors='replace')}"
        fields = carried(self.headers).items()
        headers = [f"-H {_word(f'{name}: {value}')}" for name, value in fields]
        # What comes by a pipe is a file's name to nobody, and ends with no line break of its own.
        parts = [f"printf '{body}' | curl -s --globoff '{target}'", *headers, "--data-binary @-"]
        return " \\\n  ".join(parts)

    def as_test(self, id: int, script: str) -> str:
        """Return a regression test for pytest. Raises `ValueError` for what is no JSON.

        `script` is the module that has the handler.
        """
        try:
            payload = json.loads(self.body)
        except RecursionError as error:
            raise ValueError("its JSON is too deep for Python.") from error
        if not script.isidentifier() or iskeyword(script):
            raise ValueError(f"a test cannot import {script!r}: that is no name of a module.")
        return TEST.format(
            name=re.sub(r"\W", "_", self.endpoint or "", flags=re.ASCII),
            endpoint=ascii(self.endpoint),
            script=script,
            id=id,
            payload=json.dumps(json.dumps(payload)),
        )


def _octal(content: bytes) -> str:
    """Return bytes as the format of a `printf`, which no shell can take for anything else."""
    return UNPLAIN.sub(_numbers, content).decode()


def _numbers(found: re.Match[bytes]) -> bytes:
    return b"".join(b"\\%03o" % byte for byte in found[0])


def _word(text: str) -> str:
    """Return a header as one word of a command line."""
    escaped = _octal(text.encode("latin-1", "replace"))
    return f"\"$(printf '{escaped}')\"" if "\\" in escaped else f"'{escaped}'"


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
    result = deliver({script}, payload, to={endpoint})
    assert result.status == "succeeded", result.error
"""
