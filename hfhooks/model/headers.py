"""Headers that mean something here, beside those of plain HTTP."""

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

HOP_HEADERS = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)
"""They belong to one connection, not to the request or the answer."""

BODILESS = (204, 304)
"""Statuses of answers that have no body, nor a length of it."""

MOST_BODY = 64 * 1024 * 1024
"""Bytes of a payload that no server accepts, whatever it is set to."""
