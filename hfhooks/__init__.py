"""Serve Hugging Face webhook handlers from plain Python scripts."""

from __future__ import annotations

from hfhooks.version import __version__ as __version__

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from hfhooks.model.payload import WebhookPayload
    from hfhooks.script.author import Delivery, Discard, Retry
    from hfhooks.script.decorator import webhook_endpoint
    from hfhooks.script.server import WebhooksServer

__all__ = ["webhook_endpoint", "WebhookPayload", "WebhooksServer", "Delivery", "Retry", "Discard"]

_MODULES = {
    "webhook_endpoint": "hfhooks.script.decorator",
    "WebhookPayload": "hfhooks.model.payload",
    "WebhooksServer": "hfhooks.script.server",
    "Delivery": "hfhooks.script.author",
    "Retry": "hfhooks.script.author",
    "Discard": "hfhooks.script.author",
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
