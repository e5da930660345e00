"""Whose turn it is: how many handlers of each endpoint may be called now. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from hfhooks.dispatch.pace import Pace
from hfhooks.model.delivery import Claim
from hfhooks.model.endpoint import Endpoint

__all__ = ["Lane", "Lanes"]


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
    pace: Pace = field(default_factory=Pace)

    @property
    def behind(self) -> int:
        """How many come before one that comes now, and cannot be called at once."""
        return max(0, self.waiting + self.arriving - self.taken - max(0, self.room))

    @property
    def room(self) -> int:
        """How many more handlers may be called."""
        return self.endpoint.max_concurrency - self.running - self.taken if self.endpoint else 0


class Lanes:
    """The lanes of all endpoints; `now` is in seconds of one clock that goes on."""

    def __init__(self) -> None:
        self._lanes: defaultdict[str, Lane] = defaultdict(Lane)
        self.running = 0
        """How many handlers run now, of all of them."""

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

    def cancelled(self, waiting: Mapping[str, int]) -> None:
        """Note how many wait no more."""
        for name, number in waiting.items():
            lane = self._lanes[name]
            lane.waiting = max(0, lane.waiting - number)

    def expect(self, name: str, now: float) -> tuple[bool, float]:
        """Keep a place for a delivery that arrives.

        Returns whether its handler may be called at once, and in how many seconds its answer is
        expected.
        """
        lane = self._lanes[name]
        if lane.endpoint is None:
            takes, answer_in = False, inf
        else:
            takes = not lane.waiting and lane.arriving - lane.taken < lane.room
            answer_in = lane.pace.answer_in(now, lane.behind)
        lane.arriving += 1
        lane.taken += takes
        return takes, answer_in

    def arrived(self, name: str, now: float, *, was_taken: bool, waits: bool) -> None:
        """Give back the place of one that has arrived, and may have to wait for its turn."""
        lane = self._lanes[name]
        lane.arriving -= 1
        lane.taken -= was_taken
        if waits:
            lane.waiting += 1
            lane.pace.waits(now, is_busy=True)

    def begun(self, claim: Claim, now: float, *, has_waited: bool) -> None:
        """Count a handler that is called."""
        lane = self._lanes[claim.delivery.endpoint]
        if has_waited:
            lane.waiting = max(0, lane.waiting - 1)
            lane.pace.waits(now, is_busy=lane.waiting > 0)
        lane.running += 1
        self.running += 1

    def ended(self, claim: Claim, now: float, duration: float) -> None:
        """Count it no more; it took so many seconds."""
        lane = self._lanes[claim.delivery.endpoint]
        lane.running -= 1
        self.running -= 1
        lane.pace.ended(now, duration)

    def room(self) -> dict[str, int]:
        """Return how many handlers of each endpoint may be called now, where there is room."""
        return {name: lane.room for name, lane in self._lanes.items() if lane.room > 0}

    def is_short(self) -> bool:
        """Tell whether some deliveries may wait because there is no room for them."""
        rooms = [lane.room for lane in self._lanes.values() if lane.endpoint]
        return any(room <= 0 for room in rooms)
