"""How long finished deliveries are kept."""

from dataclasses import dataclass

__all__ = ["Retention"]


@dataclass(frozen=True)
class Retention:
    """How long finished deliveries are kept: until the first of these limits is reached."""

    days: float = 30
    deliveries: int = 10_000
    mib: float = 256
