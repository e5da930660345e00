"""What each key does at the terminal of a running server."""

import asyncio
import os
import sys
import webbrowser
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from hfhooks.console.text import Console
from hfhooks.errors import HfhooksError
from hfhooks.journal.sqlite.records import Records, Wanted
from hfhooks.model.exported import Exported
from hfhooks.serving.announce import RunningServer
from hfhooks.serving.sender import replayed, send
from hfhooks.tasks import in_thread

__all__ = ["HELP", "Keys"]

HELP = {
    "r": "replay the last delivery",
    "o": "open the inspector in a browser",
    "h": "show these keys",
    "q": "stop, as Ctrl-C does",
    "Enter": "leave an empty line",
}
BROWSERS_NEED = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
"""One of these, or on Linux a browser would take over the terminal."""


class Keys:
    """The keys of one server, as `Keyboard.listen` takes them.

    `described` tells what the server is now; `stop` ends it.
    """

    def __init__(
        self, console: Console, described: Callable[[], RunningServer], stop: Callable[[], None]
    ) -> None:
        self._console = console
        self._described = described
        self._stop = stop
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def actions(self) -> Mapping[str, Callable[[], None]]:
        return {
            "r": lambda: self._begin(self._replay_last()),
            "o": lambda: self._begin(self._open_inspector()),
            "h": self._help,
            "?": self._help,
            "q": self._stop,
            "\n": lambda: self._console.text(""),
        }

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _replay_last(self) -> None:
        try:
            await in_thread(_replay_last, self._described())
        except (HfhooksError, OSError) as error:
            self._console.error(
                error if isinstance(error, HfhooksError) else HfhooksError(str(error))
            )

    async def _open_inspector(self) -> None:
        url = self._described().inspector_url or ""
        may_open = sys.platform != "linux" or any(name in os.environ for name in BROWSERS_NEED)
        if not (may_open and await in_thread(webbrowser.open, url)):
            self._console.text(f"The inspector is at {url}")

    def _help(self) -> None:
        for key, meaning in HELP.items():
            self._console.text(f"  {key:<6}{meaning}")


def _replay_last(server: RunningServer) -> None:
    """Send the newest delivery once more; the server says itself what becomes of it."""
    with Records(Path(server.journal)) as records:
        newest = [records.delivery(row.id) for row in records.summaries(Wanted(limit=1))]
    if not (newest and newest[0]):
        raise HfhooksError("no delivery has come yet.", "To send one: hfhooks trigger EVENT")
    send(server, replayed(server.endpoints, Exported.of(newest[0])))
