"""A delivery as it is recorded, the attempts at it, and what is made of them.

All of these are values, which nobody changes. What each delivery needs is not `frozen` all the
same: that takes four times as long, as long as parsing what comes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from hfhooks.redact import redact

__all__ = [
    "KEPT_ANSWER",
    "MOST_CRASHES",
    "SETTLED",
    "STATUSES",
    "SUSPICIOUS",
    "UNFINISHED",
    "Attempt",
    "Claim",
    "Recorded",
    "Stored",
    "Summary",
    "Verdict",
    "Wanted",
]

UNFINISHED = ("queued", "running", "retrying")
"""Statuses of deliveries that still want a handler, or have one."""
SETTLED = ("failed", "ignored", "cancelled")
"""Statuses of deliveries that are handled again when the Hub sends them again."""
STATUSES = (*UNFINISHED, "succeeded", *SETTLED)
MOST_CRASHES = 3
"""A delivery whose handler ends its process this often, alone in it, is given up."""
SUSPICIOUS = ("crashed", "lost")
"""Statuses of attempts after which a delivery runs in quarantine."""
KEPT_ANSWER = 4096
"""Bytes of a handler's answer, and characters of its traceback, that are kept."""
KEPT_HEADERS = frozenset({"content-type", "user-agent", "webhook-id"})
"""Headers that may be written to disk; never the secret, cookies or authorization."""


@dataclass(slots=True)
class Recorded:
    """One request received. `id` is 0 until it is recorded."""

    endpoint: str
    received_at: float
    """Seconds since 1970."""
    query: str
    """Without the parameter that is read as the secret."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """As they came, with the secret; few of them are recorded."""
    body: bytes
    event: str | None = None
    """`scope:action`."""
    repo: str | None = None
    """`type:owner/name`."""
    webhook_id: str | None = None
    """The Hub's own id, the same on its retries."""
    origin: str = "hub"
    """Who has it handled: `hub`, or an owner by `replay` or `trigger`."""
    status: str = "queued"
    id: int = 0
    attempt_count: int = 0
    """How many times a handler was called for it."""
    raised: int = 0
    """How many of these raised, or ran beyond their time."""
    crashed: int = 0
    """How many of these ended the worker, in which nothing else ran."""
    is_suspect: bool = False
    """It ran when a worker or the server died, so it runs in quarantine: nothing beside it."""

    @property
    def kept_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that are recorded, without secrets that senders put there."""
        return tuple(
            # A webhook's id is none: see `receive`.
            (name, text if text == self.webhook_id else redact.header(text))
            for name, text in self.headers
            if name in KEPT_HEADERS
        )

    @property
    def kept_query(self) -> str:
        """The query as it is recorded."""
        return redact.query(self.query)

    @property
    def is_once(self) -> bool:
        """The same id from the Hub again is a duplicate, unless this one is settled."""
        return self.webhook_id is not None and self.origin != "replay"


@dataclass(slots=True)
class Claim:
    """A delivery that a host has taken to call its handler, once."""

    id: int
    delivery: Recorded
    """Its content."""
    number: int
    """Of the attempt: 1 for the first one."""
    owner: str
    """The host."""


@dataclass(slots=True)
class Stored:
    """What became of a delivery that was to be recorded."""

    id: int
    status: str
    """`queued`, `running` if it was taken, `ignored`, or `duplicate` of the one with this id."""
    claim: Claim | None = None
    """Set if it was taken."""


@dataclass(slots=True)
class Attempt:
    """How one call of a handler ended."""

    number: int
    started_at: float
    """Seconds since 1970."""
    duration: float
    """Seconds."""
    status: str
    """`succeeded`; `raised`; `refused`, by a model, a `Discard` or an answer of 400 and more;
    `crashed`, as the worker that it ended or the server did, where it ran alone; `lost` with the
    worker or the server that ran others too; `interrupted` by a stop or a reload; `timed_out`;
    `cancelled`."""
    http_status: int | None = None
    answer: bytes = b""
    error: str | None = None

    def cut(self) -> "Attempt":
        """Return as much of it as is kept."""
        if len(self.answer) <= KEPT_ANSWER and len(self.error or "") <= KEPT_ANSWER:
            return self
        error = self.error and self.error[-KEPT_ANSWER:]
        return replace(self, answer=self.answer[:KEPT_ANSWER], error=error)


@dataclass(slots=True)
class Verdict:
    """What an attempt makes of its delivery."""

    attempt: str
    """The attempt's status."""
    status: str
    """The delivery's: `succeeded`, `failed`, `retrying`, or `queued` to be run again at once."""
    retry_after: float | None = None
    """Seconds; None unless it is retrying."""
    is_pause_asked: bool = False
    """The handler asked for that pause, so that new code cuts it not short."""
    sent_status: int | None = None
    """The HTTP status that the sender got, where that is known only now."""
    pending_after: bool = False
    """It has succeeded, and background tasks still run."""


@dataclass(slots=True)
class Summary:
    """A delivery in one line."""

    id: int
    received_at: float
    endpoint: str
    event: str | None
    repo: str | None
    status: str
    origin: str
    attempt_count: int
    webhook_id: str | None
    sent_status: int | None
    """The HTTP status that the sender got, None while it waits, or if it left."""
    due_at: float | None
    """When its next attempt is due, in seconds since 1970; None unless it is retrying."""
    duration: float | None
    """Seconds, of the last attempt that has ended."""
    http_status: int | None
    """Of that attempt."""
    pending_after: bool = False
    """What that left to be done after its answer, such as background tasks, still runs."""


@dataclass(frozen=True)
class Wanted:
    """Which deliveries are meant; what is None, or nothing, matters not."""

    endpoint: str | None = None
    statuses: Collection[str] = ()
    event: str | None = None
    """`scope`, which includes its narrower scopes, or `scope:action`."""
    repo: str | None = None
    """`type:owner/name` or `owner/name`, globs allowed."""
    origin: str | None = None
    since: float = 0.0
    """Seconds since 1970."""
    after: int = 0
    """An id."""
    ids: Sequence[int] | None = None
    is_pause_asked: bool | None = None
    """Whether it waits because its handler asked for that."""
    pending_after: bool | None = None
    """Whether background tasks of it still run."""
    limit: int = 20
