"""The words gateway and worker share, beside plain HTTP."""

OWN_HEADERS = "hfhooks-"
"""Headers of this name are ours: taken from no sender, shown to none."""

OUTCOME_HEADER = "hfhooks-outcome"
"""Set by the worker on answers that the handler's author did not write."""

RAISED = "raised"
"""The handler raised; the body is the text of its traceback."""

REFUSED = "refused"
"""The handler's model does not take the payload; the body says why."""

TOKEN_HEADER = "hfhooks-token"  # noqa: S105 # the name of a header
"""Proves that a request comes from this machine's user."""

DELIVERY_HEADER = "hfhooks-delivery"
"""Tells the owner of a server the id of the delivery that this answers."""

STATUS_HEADER = "hfhooks-status"
"""Tells the owner of a server what became of that delivery."""

MAX_BODY = 1024 * 1024
"""Bytes of a payload; the Hub's have a few thousand."""
