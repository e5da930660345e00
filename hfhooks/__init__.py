"""Serve Hugging Face webhook handlers from plain Python scripts."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from hfhooks.delivery import Delivery, Discard, Retry
    from hfhooks.endpoints import webhook_endpoint
    from hfhooks.payload import WebhookPayload
    from hfhooks.server import WebhooksServer

__version__ = "0.1.0"
__all__ = ["webhook_endpoint", "WebhookPayload", "WebhooksServer", "Delivery", "Retry", "Discard"]

_MODULES = {
    "webhook_endpoint": "hfhooks.endpoints",
    "WebhookPayload": "hfhooks.payload",
    "WebhooksServer": "hfhooks.server",
    "Delivery": "hfhooks.delivery",
    "Retry": "hfhooks.delivery",
    "Discard": "hfhooks.delivery",
}


if not TYPE_CHECKING:  # or a checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        # Names load on first use: pydantic alone takes longer than everything else here.
        if name not in _MODULES:
            raise AttributeError(f"module 'hfhooks' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
