"""The words gateway and worker share, beside plain HTTP."""

OWN_HEADERS = "hfhooks-"
"""Headers of this name are ours: taken from no sender, shown to none."""

OUTCOME_HEADER = "hfhooks-outcome"
"""Set by the worker on answers that the handler's author did not write."""

RAISED = "raised"
"""The handler raised; the body is the text of its traceback."""

RETRY = "retry"
"""The handler raised `Retry`; the body says why."""

DISCARDED = "discarded"
"""The handler raised `Discard`; the body says why."""

REFUSED = "refused"
"""The handler's model does not take the payload; the body says why."""

NOT_BEGUN = "not-begun"
"""The worker has not called the handler, and asks for the same request on another connection."""

RETRY_AFTER_HEADER = "hfhooks-retry-after"
"""The seconds that a handler asked for with `Retry(after=...)`."""

ATTEMPT_HEADER = "hfhooks-attempt"
"""Tells the worker what its handler may know of the delivery, as a JSON object."""

SECRET_HEADER = "x-webhook-secret"  # noqa: S105 # the name of a header
"""Where the Hub puts a webhook's secret."""

PASSED_HEADER = "hfhooks-passed"
"""Set on requests that are no deliveries: whatever their path may mean, they reach no handler."""

GENERATION_HEADER = "hfhooks-generation"
"""How many times the gateway has heard that a loop of this worker is blocked, if it has."""

TOKEN_HEADER = "hfhooks-token"  # noqa: S105 # the name of a header
"""Proves that a request comes from this machine's user."""

REPLAY_HEADER = "hfhooks-replay"
"""Set by the owner of a server who has something handled again."""

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
