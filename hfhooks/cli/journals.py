"""Where the journals are that commands read."""

from pathlib import Path

from hfhooks.private import state_folder

__all__ = ["state_root"]


def state_root() -> Path:
    """Return the folder below which journals are."""
    from hfhooks.settings import load_settings  # slower than all else, and seldom needed

    return load_settings().state_dir or state_folder()
