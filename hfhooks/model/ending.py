"""How a call of a handler ended, as the worker tells it."""

from dataclasses import dataclass

from hfhooks.errors import Fault

__all__ = [
    "ANSWERED",
    "CANCELLED",
    "CRASHED",
    "CUT_OFF",
    "DISCARDED",
    "INTERRUPTED",
    "LOST",
    "RAISED",
    "REFUSED",
    "RETRY",
    "TIMED_OUT",
    "UNSENDABLE",
    "Ending",
    "failed_by",
]

ANSWERED = "answered"
"""The handler's author has written the answer, or returned something that became one."""
UNSENDABLE = "unsendable"
"""The handler has ended well, and its answer cannot be sent; the body says why."""
RAISED = "raised"
"""The handler raised; the body is the text of its traceback."""
RETRY = "retry"
"""The handler raised `Retry`; the body says why."""
DISCARDED = "discarded"
"""The handler raised `Discard`; the body says why."""
REFUSED = "refused"
"""The handler's model does not take the payload; the body says why."""
CRASHED = "crashed"
"""The worker ended before it answered, and nothing else ran in it; the body says how."""
LOST = "lost"
"""The worker ended before it answered, and other handlers ran in it; the body says how."""
INTERRUPTED = "interrupted"
"""The worker was ended on purpose before it answered."""
CANCELLED = "cancelled"
"""Its owner wants nothing more of it; whatever the worker answers comes too late."""
TIMED_OUT = "timed_out"
"""The handler ran longer than it may; the body says so."""
CUT_OFF = {
    CRASHED: "The worker process died while background tasks of this handler ran.",
    INTERRUPTED: "The server was stopped, or the script reloaded, while background tasks of this "
    "handler ran.",
    LOST: "The server died while background tasks of this handler ran.",
}
"""Why what was left to be done after an answer has not been done."""


@dataclass(slots=True)
class Ending:
    """What came of one call."""

    kind: str
    """`answered`, or one of the other words above."""
    status: int = 0
    """Of HTTP."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Names are lower case."""
    body: bytes = b""
    retry_after: float | None = None
    """Seconds that the handler wants to pass before it is called again."""
    pending_after: bool = False
    """Something is left to be done after the answer, such as background tasks."""

    @property
    def why(self) -> str:
        """The last line of what is said of a call that has no answer of its author's."""
        lines = self.body.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines and self.kind != ANSWERED else ""


def failed_by(fault: Fault) -> Ending:
    """Return how a call ends that a fault of ours has kept from its handler."""
    return Ending(RAISED, 500, body=str(fault).encode(errors="backslashreplace"))
