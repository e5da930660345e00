"""Scripts written for huggingface_hub run unchanged: its names for webhooks mean ours here.

huggingface_hub imports `webhook_endpoint` and the rest from two modules of its own, when they are
asked for. In a worker these two are ours, however a script asks; all else of it stays as it is.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from hfhooks.model import payload
from hfhooks.script.decorator import webhook_endpoint
from hfhooks.script.server import WebhooksServer

__all__ = ["stand_in_for_huggingface_hub"]

MODULES = {
    "huggingface_hub._webhooks_server": ("webhook_endpoint", "WebhooksServer"),
    "huggingface_hub._webhooks_payload": tuple(payload.__all__),
}
"""Its modules, and which of our names are wanted there."""
VOCABULARIES = ("WebhookEvent_T", "RepoChangeEvent_T", "RepoType_T", "DiscussionStatus_T")
"""Types of huggingface_hub that the Hub may extend at any time, so ours are plain strings."""


class _Finder:
    """Finds nothing but the modules that we stand in for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _Loader()) if fullname in MODULES else None


class _Loader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(dict.fromkeys(VOCABULARIES, str))
        ours = {"webhook_endpoint": webhook_endpoint, "WebhooksServer": WebhooksServer}
        ours |= vars(payload)
        vars(module).update({name: ours[name] for name in MODULES[module.__name__]})


def stand_in_for_huggingface_hub() -> None:
    """Make every later import of huggingface_hub's names for webhooks bring ours."""
    sys.meta_path.insert(0, _Finder())
