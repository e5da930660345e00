"""What happens in a server, for whoever wants to know: lines, metrics, pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hfhooks.errors import Fault, HfhooksError
from hfhooks.model.delivery import Attempt, Recorded
from hfhooks.model.running_server import RunningServer

__all__ = [
    "Broken",
    "Duplicate",
    "Failed",
    "Finished",
    "Full",
    "Happening",
    "Happenings",
    "Ignored",
    "Note",
    "Progress",
    "Ready",
    "Refused",
    "Reloaded",
    "Stopped",
    "Subscriber",
    "TunnelDown",
    "TunnelUp",
]


@dataclass(slots=True)
class Finished:
    """A handler was called, for better or worse."""

    id: int
    delivery: Recorded
    """Its content."""
    attempt: Attempt
    status: str
    """What the attempt has made of the delivery."""
    sent_status: int | None = None
    """The HTTP status that the sender got, if it has got one from us."""
    retry_after: float | None = None
    """Seconds until the next attempt, where there will be one."""
    is_recovered: bool = False
    """It is the first one of a delivery that an earlier run has left unfinished."""
    is_amended: bool = False
    """It was told before: what the handler left to be done after its answer has failed."""


@dataclass(slots=True)
class Ignored:
    """No filter let a delivery through."""

    id: int
    delivery: Recorded
    reason: str


@dataclass(slots=True)
class Duplicate:
    """The Hub has sent again what it had sent before; `id` is that of the earlier one."""

    id: int
    delivery: Recorded


@dataclass(slots=True)
class Refused:
    """Somebody sent an endpoint what it does not accept; `hint` is what that may mean."""

    path: str
    status: int
    word: str
    hint: str | None = None


@dataclass(frozen=True)
class Full:
    """Deliveries are turned away, and why; None when they are accepted again."""

    reason: str | None
    endpoint: str | None = None
    """The one whose deliveries these are, None where all are."""


@dataclass(frozen=True)
class Ready:
    """Deliveries are accepted from now on."""

    server: RunningServer
    reloads: bool = False


@dataclass(frozen=True)
class Reloaded:
    """A new version of the scripts runs."""

    seconds: float
    """Since it was saved."""
    server: RunningServer
    appeared: Sequence[str] = ()
    """Paths of endpoints that are new."""
    vanished: Sequence[str] = ()


@dataclass(frozen=True)
class Broken:
    """The scripts cannot be loaded as they are now; an earlier version may go on."""

    error: HfhooksError
    has_worker: bool


@dataclass(frozen=True)
class TunnelUp:
    """What is sent to the public URL arrives; `before` is the one that was said before."""

    server: RunningServer
    before: str | None


@dataclass(frozen=True)
class TunnelDown:
    """Nothing arrives by the public URL, the last one there was."""

    url: str | None
    why: str


@dataclass(frozen=True)
class Progress:
    """How far something is that takes long."""

    text: str


@dataclass(frozen=True)
class Note:
    """Something else that a person should know."""

    text: str


@dataclass(frozen=True)
class Failed:
    """Something that was asked for cannot be done, or a fault of ours."""

    error: HfhooksError


@dataclass(frozen=True)
class Stopped:
    """The server has ended."""


Happening: TypeAlias = (
    Finished
    | Ignored
    | Duplicate
    | Refused
    | Full
    | Ready
    | Reloaded
    | Broken
    | TunnelUp
    | TunnelDown
    | Progress
    | Note
    | Failed
    | Stopped
)
Subscriber: TypeAlias = Callable[[Happening], None]


class Happenings:
    """Tells subscribers what happens, in the order in which they came."""

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = list(subscribers)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell this one too, from now on."""
        self._subscribers.append(subscriber)

    def tell(self, happening: Happening) -> None:
        """Tell everyone; the fault of one concerns no other."""
        for subscriber in self._subscribers:
            try:
                subscriber(happening)
            except Exception as error:  # noqa: BLE001 # of one of many
                self._tell_others(subscriber, Failed(Fault("a subscriber", error)))

    def _tell_others(self, faulty: Subscriber, happening: Failed) -> None:
        for subscriber in self._subscribers:
            if subscriber is not faulty:
                try:
                    subscriber(happening)
                except Exception:  # noqa: BLE001, S112 # there is nobody left to tell
                    continue
