"""A server in a process of its own: from what the command line names to the exit code."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Protocol

from hfhooks.errors import Fault
from hfhooks.model.happenings import Happenings, Subscriber
from hfhooks.model.running_server import RunningServer
from hfhooks.processes import end_own
from hfhooks.script.target import Target
from hfhooks.serving.node import Node
from hfhooks.serving.own_journal import journal_url, open_own_journal
from hfhooks.serving.service import Service
from hfhooks.serving.signals import Stop, exit_code, stop_signal
from hfhooks.serving.sockets import Sockets, bound
from hfhooks.settings import Settings
from hfhooks.supervisor.options import Options
from hfhooks.supervisor.spawn import Spawned
from hfhooks.supervisor.supervisor import Supervisor
from hfhooks.supervisor.targets import find_targets
from hfhooks.supervisor.watcher import check_watchable
from hfhooks.tasks import Tasks, run

__all__ = ["Attend", "serve_until_signal"]

LAST = 5.0
"""Seconds beyond the grace after which a server that has a fault ends, whatever still hangs."""


class Attend(Protocol):
    """Lets a person attend a server."""

    def __call__(
        self, describe: Callable[[], RunningServer], end: Callable[[], None], tasks: Tasks
    ) -> AbstractContextManager[Callable[[], None]]:
        """Begin, on the running loop; yield what leaves the terminal as it was.

        `describe` tells what the server is now, `end` ends it with success, `tasks` owns what is
        begun.
        """


def serve_until_signal(
    arguments: Sequence[str],
    targets: Sequence[Target],
    settings: Settings,
    process: Spawned,
    subscribers: Sequence[Subscriber],
    attend: Attend | None = None,
) -> int:
    """Serve what the arguments name, now these targets, until a signal comes; return the exit code.

    Raises `HfhooksError` when that cannot start.
    """
    for path in settings.watch:
        check_watchable(path)
    options = Options(
        reload=sys.stdout.isatty() if settings.reload is None else settings.reload,
        folders=[Path(name).resolve() for name in arguments if Path(name).is_dir()],
        watched=[path.resolve() for path in settings.watch],
        verbose=settings.verbose,
    )

    def workers(service: Service, tasks: Tasks) -> Supervisor:
        return Supervisor(lambda: find_targets(arguments), service, tasks, process, options)

    names = ", ".join(target.label for target in targets)
    url = journal_url(settings, targets[0].key)

    async def until_signal(sockets: Sockets) -> int:
        # What is imported stays, and what a delivery leaves is soon gone by itself: looking for
        # cycles in it takes a tenth of the time. See `__main__` for how seldom that is done.
        gc.freeze()
        journal = open_own_journal(url, settings, sockets.port)
        with ExitStack() as stack:
            stack.callback(end_own)
            happenings = Happenings(*subscribers)
            restored = _Later()
            stop = stack.enter_context(stop_signal(restored, journal.stopping))
            stop.add_done_callback(partial(_end_at_last, settings.grace + LAST, restored))
            node = Node(names, url, settings, sockets, journal, happenings, stop, workers)
            if attend:
                end = partial(signal.raise_signal, signal.SIGTERM)
                attending = attend(lambda: node.described, end, node.tasks)
                restored.call = stack.enter_context(attending)
            await node.run(options.reload)
        return exit_code(stop)

    with bound(settings) as sockets:
        return run(until_signal(sockets))


def _end_at_last(seconds: float, before_leaving: Callable[[], None], stop: Stop) -> None:
    """Where a fault of ours is why we end, something may never come to an end by itself."""

    def leave(code: int) -> None:
        before_leaving()
        os._exit(code)

    if not stop.exception() and isinstance(why := stop.result(), Fault):
        last = Timer(seconds, leave, (why.exit_code,))
        last.daemon = True
        last.start()


class _Later:
    """Calls what is not known yet."""

    def __init__(self) -> None:
        self.call: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.call()
