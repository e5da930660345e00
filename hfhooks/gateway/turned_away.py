"""What is turned away for a while: it is said once, and so is its end."""

from collections.abc import Callable

from hfhooks.model.happenings import Full, Happening

__all__ = ["TurnedAway"]


class TurnedAway:
    """The endpoints whose deliveries are turned away; None stands for all of them."""

    def __init__(self, tell: Callable[[Happening], None]) -> None:
        self._tell = tell
        self._endpoints: set[str | None] = set()

    def __bool__(self) -> bool:
        return bool(self._endpoints)

    def begin(self, reason: str, endpoint: str | None = None) -> None:
        """Say why deliveries are turned away from now on."""
        if endpoint not in self._endpoints:
            self._endpoints.add(endpoint)
            self._tell(Full(reason, endpoint))

    def end(self, *endpoints: str | None) -> None:
        """Say that deliveries to these are accepted again, where that was said."""
        for endpoint in self._endpoints.intersection(endpoints):
            self._endpoints.remove(endpoint)
            self._tell(Full(None, endpoint))
