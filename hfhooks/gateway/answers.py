"""What senders hear. Pure."""

from functools import lru_cache
from urllib.parse import quote

from hfhooks.http.messages import Answer, encoded_headers
from hfhooks.model.delivery import Verdict
from hfhooks.model.ending import ANSWERED, CANCELLED, DISCARDED, REFUSED, UNSENDABLE, Ending
from hfhooks.model.headers import DELIVERY_HEADER, STATUS_HEADER, WHY_HEADER, is_carried
from hfhooks.redact import redact

__all__ = ["accepted", "for_owner", "with_outcome"]

LONGEST_WHY = 500
"""Characters of why something became of a delivery."""


def accepted(id: int, status: str, http_status: int | None = None) -> Answer:
    """Return our own answer: the delivery's id, and what has become of it so far."""
    is_open = status in ("queued", "running", "retrying")
    word = "queued" if status == "running" else status
    body = b'{"id": %d, "status": "%b"}' % (id, word.encode())
    return Answer(http_status or (202 if is_open else 200), body)


def with_outcome(id: int, verdict: Verdict, ending: Ending) -> Answer:
    """Return the answer to who has waited for the outcome: the handler's own, if it has one."""
    if verdict.status == "retrying":
        return accepted(id, verdict.status)
    if ending.kind == ANSWERED:
        headers = tuple((name, value) for name, value in ending.headers if _is_public(name))
        return Answer(ending.status, ending.body, headers)
    # The Hub suspends webhooks that answer 4xx or 5xx. A payload that does not fit the handler's
    # model is our failure, not the sender's; what is discarded or cancelled need not come again.
    is_settled = ending.kind in (REFUSED, DISCARDED, CANCELLED, UNSENDABLE)
    return accepted(id, verdict.status, 200 if is_settled else 500)


def for_owner(answer: Answer, id: int, status: str, why: str = "") -> Answer:
    """Return the answer as it is shown to the server's owner, with what only the owner is told."""
    own = {DELIVERY_HEADER: str(id), STATUS_HEADER: "queued" if status == "running" else status}
    if why:
        own[WHY_HEADER] = quote(redact(why)[:LONGEST_WHY], errors="replace")
    return Answer(answer.status, redact(answer.body), answer.headers + encoded_headers(own))


@lru_cache(maxsize=256)
def _is_public(header: bytes) -> bool:
    return is_carried(header.decode("latin-1"))
