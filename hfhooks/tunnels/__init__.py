"""How the internet reaches this machine: one file for each way, and a keeper for any of them."""

import os
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from platformdirs import user_config_path

from hfhooks.errors import UsageError
from hfhooks.settings import Settings
from hfhooks.tunnels.tunnel import Tunnel

__all__ = ["chosen"]


TABLE = {
    "ngrok": ("hfhooks.tunnels.ngrok", "Ngrok"),
    "cloudflared": ("hfhooks.tunnels.cloudflared", "Cloudflared"),
    "ssh": ("hfhooks.tunnels.ssh", "Ssh"),
    "fixed": ("hfhooks.tunnels.fixed", "Fixed"),
}
"""Names, and where the class of each is: only the one that is used is imported."""


def chosen(settings: Settings) -> Tunnel | None:
    """Return the tunnel that is asked for. Raises `UsageError` where too little is said."""
    name = chosen_name(settings)
    if name == "none":
        return None
    if settings.public_url and name != "fixed":
        help = "With --public-url a reverse proxy of yours is the tunnel."
        raise UsageError(f"--public-url and --tunnel {name}: only one of them.", help)
    module, attribute = TABLE[name]
    make: Callable[[Settings], Tunnel] = getattr(import_module(module), attribute)
    return make(settings)


def chosen_name(settings: Settings) -> str:
    """Return the name of the tunnel that is asked for, `none` where there is to be none."""
    if settings.tunnel != "auto":
        return settings.tunnel
    if settings.public_url:
        return "fixed"
    if settings.ssh_host:
        return "ssh"
    if settings.domain:
        return "ngrok"
    return "ngrok" if _has_ngrok_token() else "none"


def _has_ngrok_token() -> bool:
    """Tell whether ngrok can probably be used, without importing what would know for sure."""
    if os.environ.get("NGROK_AUTHTOKEN", "").strip():
        return True
    with suppress(OSError, RuntimeError, ValueError):  # no file, no home, no text
        return (
            "authtoken:" in (user_config_path("ngrok", appauthor=False) / "ngrok.yml").read_text()
        )
    return False
