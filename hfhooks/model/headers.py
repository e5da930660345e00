"""Headers that mean something here, beside those of plain HTTP."""

import re
from collections.abc import Iterable

OWN_HEADERS = "hfhooks-"
"""Headers of this name are ours: taken from no sender, shown to none."""

SECRET_HEADER = "x-webhook-secret"  # noqa: S105 # the name of a header
"""Where the Hub puts a webhook's secret."""

TOKEN_HEADER = "hfhooks-token"  # noqa: S105 # the name of a header
"""Proves that a request comes from this machine's user."""

ORIGIN_HEADER = "hfhooks-origin"
"""Set by the owner of a server who has something handled: `replay` or `trigger`."""

DELIVERY_HEADER = "hfhooks-delivery"
"""Tells the owner of a server the id of the delivery that this answers."""

STATUS_HEADER = "hfhooks-status"
"""Tells the owner of a server what became of that delivery."""

WHY_HEADER = "hfhooks-why"
"""Tells the owner of a server, percent-encoded, why that became of it: in one line."""

HOP_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)
"""They belong to one connection, not to the request or the answer."""

NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What may be a header's name (RFC 9110, 5.6.2)."""

BODILESS = (204, 304)
"""Statuses of answers that have no body, nor a length of it."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a body that is accepted where nothing else is set; the Hub's largest has 1.6 million."""

MOST_BODY = 64 * 1024 * 1024
"""Bytes of a payload that no server accepts, whatever it is set to."""


def is_carried(name: str) -> bool:
    """Tell whether a header belongs to what is sent, and is none of ours; in lower case."""
    return name not in HOP_HEADERS and not name.startswith(OWN_HEADERS)


def carried(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return those that belong to what is sent, and not to a connection or a host that it came by.

    Names are lower case.
    """
    found = {name.lower(): value for name, value in headers if NAME.fullmatch(name)}
    listed = {name.strip() for name in found.get("connection", "").lower().split(",")}
    left_out = listed | {"host"}
    return {
        name: value for name, value in found.items() if name not in left_out and is_carried(name)
    }
