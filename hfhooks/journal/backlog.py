"""How much is unfinished, of each endpoint and in all, and whom that turns away. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from hfhooks.errors import BacklogFull

__all__ = ["LIMITS", "Backlog", "Limits"]


@dataclass(frozen=True)
class Limits:
    """How much may be unfinished."""

    each: int = 10_000
    """Deliveries of one endpoint; the Hub sends 1,000 a day."""
    all: int = 100_000
    """Deliveries of all endpoints that are served."""
    size: int = 1024**3
    """Bytes of their bodies."""
    spared: int = 100
    """An endpoint with fewer deliveries is not turned away for what others have."""


LIMITS = Limits()


@dataclass(eq=False, slots=True)
class Share:
    """What is unfinished of one endpoint."""

    is_served: bool
    number: int = 0
    size: int = 0


class Backlog:
    """Deliveries that are not finished, and the bytes of their bodies.

    What is left of endpoints that are not served turns nobody away.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._served: frozenset[str] | None = None
        """The endpoints that are served, None while that is not known."""
        self._shares: dict[str, Share] = {}
        self._each: dict[int, tuple[Share, int]] = {}
        """Each delivery, with the bytes of its body."""
        self._size = 0

    def __len__(self) -> int:
        return len(self._each)

    def serve(self, endpoints: Iterable[str]) -> None:
        """Count what is left of these endpoints alone from now on."""
        self._served = frozenset(endpoints)
        for name, share in self._shares.items():
            share.is_served = name in self._served

    def add(self, id: int, endpoint: str, size: int) -> None:
        """Count a delivery, once."""
        if id not in self._each:
            share = self._shares.get(endpoint) or self._share(endpoint)
            self._each[id] = share, size
            share.number += 1
            share.size += size
            self._size += size

    def remove(self, id: int) -> None:
        """Count a delivery no longer."""
        if found := self._each.pop(id, None):
            share, size = found
            share.number -= 1
            share.size -= size
            self._size -= size

    def refusal(self, endpoint: str, size: int = 0) -> BacklogFull | None:
        """Return why no delivery to an endpoint, with a body of so many bytes, is taken now.

        Where there is too much in all, that is so for the endpoint that has the most of it.
        """
        limits, share = self._limits, self._shares.get(endpoint) or self._share(endpoint)
        if share.number >= limits.each:
            return BacklogFull(f"{limits.each} deliveries wait for the handler of {endpoint}.")
        if len(self._each) < limits.all and self._size + size <= limits.size:
            return None
        return self._refusal_for_all(endpoint, share, size)

    def _refusal_for_all(self, endpoint: str, share: Share, size: int) -> BacklogFull | None:
        limits = self._limits
        counted = [each for each in self._shares.values() if each.is_served or each is share]
        numbers, sizes = [each.number for each in counted], [each.size for each in counted]
        are_many, are_large = sum(numbers) >= limits.all, sum(sizes) + size > limits.size
        has_most = are_many and share.number == max(numbers)
        if share.number >= limits.spared and (has_most or (are_large and share.size == max(sizes))):
            what = f"{sum(numbers)} deliveries of {sum(sizes) // 1024**2} MiB wait for handlers"
            return BacklogFull(f"{what}, most of them for that of {endpoint}.")
        return None

    def _share(self, endpoint: str) -> Share:
        if (share := self._shares.get(endpoint)) is None:
            is_served = self._served is None or endpoint in self._served
            share = self._shares[endpoint] = Share(is_served)
        return share
