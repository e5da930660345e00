"""How a call has ended. No FastAPI here."""

from typing import Any

from hfhooks.model.ending import DISCARDED, RAISED, RETRY, Ending
from hfhooks.script.author import Discard, Retry
from hfhooks.tracebacks import bounded, users_text, users_traceback

__all__ = ["DELIVERY", "OUTCOME", "RETRY_AFTER", "ending_of", "reasons"]

DELIVERY = "hfhooks.delivery"
"""Where a scope has what its handler may know of its delivery."""
OUTCOME, RETRY_AFTER = "hfhooks-outcome", "hfhooks-retry-after"
"""Headers of answers that the handler's author did not write: why, and the pause asked for."""


def ending_of(error: BaseException) -> Ending:
    """Return how a call has ended that raised."""
    text = users_text(error, otherwise=type(error).__name__)
    if isinstance(error, Retry):
        return Ending(RETRY, 500, body=_encoded(text), retry_after=error.after)
    if isinstance(error, Discard):
        return Ending(DISCARDED, 500, body=_encoded(text))
    return Ending(RAISED, 500, body=_encoded(users_traceback(error)))


def _encoded(text: str) -> bytes:
    # A lone surrogate in an exception's text must not cost us the report.
    return text.encode("utf-8", "backslashreplace")


def reasons(errors: Any) -> bytes:
    """Return why a payload does not fit a model, a reason a line."""
    lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors]
    return _encoded(bounded("\n".join(lines)))
