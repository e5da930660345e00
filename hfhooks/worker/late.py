"""An application that is made when something needs it.

With the handlers of most scripts nothing ever does, and FastAPI takes longer to import than all
else.
"""

from typing import TYPE_CHECKING, Any

from hfhooks.script.registry import Registry
from hfhooks.tasks import in_thread
from hfhooks.worker.calls import LateFailure

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["LateApp"]


class LateApp:
    """The application of endpoints that all can be called without it; see `app.build`."""

    def __init__(self, registry: Registry, on_late_failure: LateFailure) -> None:
        self._registry, self._on_late_failure = registry, on_late_failure
        self._app: Any = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if self._app is None:
            self._app = await in_thread(self._made)
        await self._app(scope, receive, send)

    def _made(self) -> Any:
        from hfhooks.worker.app import build

        return build(self._registry, self._on_late_failure)[0]
