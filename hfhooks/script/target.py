"""What is to be loaded."""

from dataclasses import dataclass, field
from typing import Any

from hfhooks.errors import place

__all__ = ["EXAMPLE", "Target"]

EXAMPLE = "Decorate a function with @webhook_endpoint (from hfhooks import webhook_endpoint)."


@dataclass(frozen=True)
class Target:
    """One thing to import: a script (`file` is set) or a module."""

    name: str
    """Dotted module name."""
    folders: tuple[str, ...]
    """Absolute folders that come first on `sys.path` while it is imported."""
    file: str | None = None
    """Absolute path of the script."""
    key: str = field(default="", compare=False)
    """What the command line named, as an absolute path: the same although links behind it change,
    or scripts come into a folder."""

    @property
    def label(self) -> str:
        """What a person would call it."""
        return place(self.file) if self.file else self.name

    @property
    def program(self) -> str:
        """What the script sees as `sys.argv[0]`."""
        return self.file or self.name

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Target":
        return cls(**{**row, "folders": tuple(row["folders"])})
