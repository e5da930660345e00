"""Whose turn it is: how many handlers of each endpoint may be called now. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hfhooks.model.delivery import Claim
from hfhooks.model.endpoint import Endpoint

__all__ = ["BURST", "CALM", "FEW", "Lane", "Lanes"]

BURST = 24
"""Deliveries that arrive at once above which their senders' answers come first."""
CALM = 0.05
"""Seconds after which such a burst is over."""
FEW = 1
"""Handlers that run during a burst."""
MANY = 1_000_000


@dataclass
class Lane:
    """What comes, waits and runs for one endpoint."""

    endpoint: Endpoint | None = None
    """None where it is not served now."""
    arriving: int = 0
    """Deliveries that are being recorded."""
    taken: int = 0
    """Those of them whose handlers are called at once."""
    waiting: int = 0
    """Deliveries that wait for their turn, as far as this host knows."""
    running: int = 0

    @property
    def room(self) -> int:
        """How many more handlers may be called."""
        return self.endpoint.max_concurrency - self.running - self.taken if self.endpoint else 0


class Lanes:
    """The lanes of all endpoints; `now` is in seconds of one clock that goes on."""

    def __init__(self) -> None:
        self._lanes: defaultdict[str, Lane] = defaultdict(Lane)
        self._all = Lane()
        """Of all of them together."""
        self._in_quarantine = 0
        self._calm_at = 0.0

    @property
    def running(self) -> int:
        """How many handlers run now."""
        return self._all.running

    @property
    def quarantine(self) -> int:
        """How many of the deliveries that have ended a worker may be begun now.

        They run one at a time: when a worker dies again, only one of them can be the cause.
        """
        return 0 if self._in_quarantine else 1

    def use(self, endpoints: Iterable[Endpoint]) -> None:
        """Call handlers of these endpoints from now on, and of no others."""
        known = {endpoint.name: endpoint for endpoint in endpoints}
        for name in {*self._lanes, *known}:
            self._lanes[name].endpoint = known.get(name)

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the endpoint of this name, if it is served."""
        return self._lanes[name].endpoint if name in self._lanes else None

    def left(self, waiting: Mapping[str, int]) -> None:
        """Note how many wait that came before this host."""
        for name, number in waiting.items():
            self._lanes[name].waiting += number

    def expect(self, name: str, now: float) -> tuple[bool, bool]:
        """Keep a place for a delivery that arrives.

        Returns whether its handler may be called at once, and whether it waits for no others.
        """
        lane = self._lanes[name]
        is_next = lane.waiting + lane.arriving - lane.taken < lane.room
        self._all.arriving += 1
        lane.arriving += 1
        if self._all.arriving > BURST:
            self._calm_at = now + CALM
        takes = is_next and not lane.waiting and self._allowed(now) > 0
        lane.taken += takes
        self._all.taken += takes
        return takes, is_next

    def arrived(self, name: str, *, was_taken: bool, waits: bool) -> None:
        """Give back the place of one that has arrived, and may have to wait for its turn."""
        for lane in (self._lanes[name], self._all):
            lane.arriving -= 1
            lane.taken -= was_taken
        self._lanes[name].waiting += waits

    def begun(self, claim: Claim, *, has_waited: bool) -> None:
        """Count a handler that is called."""
        lane = self._lanes[claim.delivery.endpoint]
        lane.waiting = max(0, lane.waiting - has_waited)
        for each in (lane, self._all):
            each.running += 1
        self._in_quarantine += claim.delivery.crashed > 0

    def ended(self, claim: Claim) -> None:
        """Count it no more."""
        for each in (self._lanes[claim.delivery.endpoint], self._all):
            each.running -= 1
        self._in_quarantine -= claim.delivery.crashed > 0

    def room(self, now: float) -> dict[str, int]:
        """Return how many handlers of each endpoint may be called now, where there is room."""
        allowed = self._allowed(now)
        rooms = {name: min(lane.room, allowed) for name, lane in self._lanes.items()}
        return {name: room for name, room in rooms.items() if room > 0}

    def is_short(self, now: float) -> bool:
        """Tell whether some deliveries may wait because there is no room for them."""
        rooms = [lane.room for lane in self._lanes.values() if lane.endpoint]
        is_full = any(room <= 0 for room in rooms)
        return is_full or self._in_quarantine > 0 or self._allowed(now) < MANY

    def calm_in(self, now: float) -> float | None:
        """Return the seconds until a burst may be over, None where there is none."""
        return self._calm_at - now if self._calm_at > now else None

    def _allowed(self, now: float) -> int:
        """Return how many handlers may be called beside those that run."""
        if self._calm_at <= now and self._all.arriving > BURST:
            self._calm_at = now + CALM
        return FEW - self._all.running - self._all.taken if self._calm_at > now else MANY
