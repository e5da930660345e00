"""What each key does at the terminal of a running server."""

import os
import sys
import webbrowser
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hfhooks.cli.journals import now, reading
from hfhooks.cli.keyboard import keyboard
from hfhooks.console.text import Text
from hfhooks.errors import HfhooksError
from hfhooks.model.delivery import Wanted
from hfhooks.model.exported import Exported
from hfhooks.model.happenings import Failed
from hfhooks.model.running_server import RunningServer
from hfhooks.model.sending import replayed
from hfhooks.serving.owner import send
from hfhooks.tasks import Tasks, in_thread

__all__ = ["HELP", "Keys", "attended"]

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

    `describe` tells what the server is now; `end` ends it.
    """

    def __init__(
        self,
        text: Text,
        describe: Callable[[], RunningServer],
        end: Callable[[], None],
        tasks: Tasks,
    ) -> None:
        self._text = text
        self._describe = describe
        self._end = end
        self._tasks = tasks

    @property
    def actions(self) -> Mapping[str, Callable[[], None]]:
        return {
            "r": lambda: self._begin(self._replay_last()),
            "o": lambda: self._begin(self._open_inspector()),
            "h": self._help,
            "?": self._help,
            "q": self._end,
            "\n": lambda: self._text.say(""),
        }

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.one("a key", work)

    async def _replay_last(self) -> None:
        try:
            await in_thread(_replay_last, self._describe())
        except (HfhooksError, OSError) as error:
            why = error if isinstance(error, HfhooksError) else HfhooksError(str(error))
            self._text(Failed(why))

    async def _open_inspector(self) -> None:
        url = self._describe().inspector_url or ""
        may_open = sys.platform != "linux" or any(name in os.environ for name in BROWSERS_NEED)
        if not (may_open and await in_thread(webbrowser.open, url)):
            self._text.say(f"The inspector is at {url}")

    def _help(self) -> None:
        for key, meaning in HELP.items():
            self._text.say(f"  {key:<6}{meaning}")


@contextmanager
def attended(
    text: Text, describe: Callable[[], RunningServer], end: Callable[[], None], tasks: Tasks
) -> Iterator[Callable[[], None]]:
    """Attend to a server's keys; yield what leaves the terminal as it was. See `program.Attend`."""
    with keyboard() as keys:
        keys.listen(Keys(text, describe, end, tasks).actions)
        yield keys.restore


def _replay_last(server: RunningServer) -> None:
    """Send the newest delivery once more; the server says itself what becomes of it."""
    with reading(server.journal) as journal:
        newest = [now(journal.get(row.id)) for row in now(journal.list(Wanted(limit=1)))]
    if not (newest and newest[0]):
        raise HfhooksError("no delivery has come yet.", "To send one: hfhooks trigger EVENT")
    endpoints = [each.endpoint for each in server.endpoints]
    send(server, replayed(endpoints, Exported.of(newest[0])))
