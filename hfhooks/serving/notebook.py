"""Serving from a notebook: a server in threads beside the cells, which declare its endpoints."""

import asyncio
import atexit
import builtins
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import escape
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

from hfhooks.console.output import print_data
from hfhooks.console.text import Text
from hfhooks.errors import Fault, JournalTaken, StartError
from hfhooks.http.listener import bind
from hfhooks.journal import Journal
from hfhooks.model.happenings import Happening, Happenings, Note, Ready
from hfhooks.model.running_server import RunningServer
from hfhooks.redact import redact
from hfhooks.script.registry import Registry
from hfhooks.serving.node import Node
from hfhooks.serving.own_journal import journal_url, open_own_journal
from hfhooks.serving.service import Service
from hfhooks.serving.signals import Stop, settle
from hfhooks.serving.sockets import Sockets, bound
from hfhooks.serving.threads import ThreadWorker
from hfhooks.settings import Settings, load_settings
from hfhooks.tasks import Tasks, run

__all__ = ["serve_cells"]

STOP_WITHIN = 3.0
"""Seconds that a server gets when the kernel ends."""
MOST_ALIKE = 20
"""Notebooks that look the same and have journals of their own."""
LINK = re.compile(r"https?://[^\s()<>]*[^\s()<>.,:]")
HOW_TO_STOP = "Run a cell again to change a handler; call .stop() on any of them to end."


def serve_cells(registry: Registry) -> None:
    """Serve what the cells have declared, from now on, and show where; return when it is ready.

    Where that is done already, take up what has changed, and show it again. Raises `HfhooksError`
    when it cannot start.
    """
    for server in registry.servers:
        server.page_options = server.page_options or {}  # no `launch` comes that says more
    if registry.live is None:
        redact.follow_environment()
        registry.live = live = Notebook(registry)
        try:
            live.start()
        except BaseException:
            registry.live = None
            raise
    else:
        registry.live.update()
    assert isinstance(registry.live, Notebook)
    registry.live.show()


class Notebook:
    """The server of one kernel, in a thread."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._settings = _settings()
        self._text = Text(sys.stdout, verbose=self._settings.verbose)
        self._is_ready = Event()
        self._node: Node | None = None
        self._worker: ThreadWorker | None = None
        self._stop: Callable[[], None] = lambda: None
        self._thread = Thread(target=self._run, name="hfhooks-gateway", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Return when deliveries are taken. Raises what keeps it from that."""
        for note in self._settings.notes:
            self._text(Note(note))
        self._thread.start()
        while not self._is_ready.is_set() and self._thread.is_alive():
            self._thread.join(0.05)  # Ctrl-C must find us here, and no lock can be woken by it
        if self._failure:
            raise self._failure
        atexit.register(self._end_with_kernel)

    def update(self) -> None:
        """Take up what a cell has declared anew. Raises `HfhooksError` for what cannot be."""
        if self._worker:
            self._worker.update()

    def stop(self) -> None:
        """Finish what runs, within the grace, and end."""
        self._stop()
        self._thread.join()
        atexit.unregister(self._end_with_kernel)
        self._registry.live = None
        if self._failure:
            raise self._failure

    def show(self) -> None:
        """Show where the server is, with links where the notebook can show some."""
        assert self._node
        text = _described(self._node.described)
        if not hasattr(builtins, "get_ipython"):  # IPython may be installed, and not in use
            print_data(text)
            return
        from IPython.display import display

        html = LINK.sub(r'<a href="\g<0>" target="_blank" rel="noopener">\g<0></a>', escape(text))
        show: Any = display
        show({"text/plain": text, "text/html": f"<pre>{html}</pre>"}, raw=True)

    def _run(self) -> None:
        try:
            with bound(self._settings) as sockets:
                run(self._serve(sockets))
        except BaseException as error:  # noqa: BLE001 # it is raised where somebody waits
            self._failure = error
            if self._is_ready.is_set():
                self._text(Note(f"the server has ended: {error}"))
        finally:
            self._registry.live = None

    async def _serve(self, sockets: Sockets) -> None:
        stop: Stop = asyncio.get_running_loop().create_future()
        self._stop = partial(settle, stop, 0)
        url, journal = self._opened(sockets.port)
        happenings = Happenings(self._hear)
        self._node = Node(
            "the notebook",
            url,
            self._settings,
            sockets,
            journal,
            happenings,
            stop,
            self._made_worker,
        )
        await self._node.run()
        if isinstance(why := stop.result(), Fault):
            raise why

    def _opened(self, port: int) -> tuple[str, Journal]:
        """Return the journal of this notebook and its URL, or another where it is taken.

        Prompts in one folder, and some notebooks, cannot be told apart.
        """
        key = _key()
        for number in range(1, MOST_ALIKE + 1):
            url = journal_url(self._settings, key if number == 1 else f"{key}-{number}")
            try:
                return url, open_own_journal(url, self._settings, port)
            except JournalTaken:
                if number == MOST_ALIKE or self._settings.journal:
                    raise
        raise AssertionError

    def _made_worker(self, service: Service, tasks: Tasks) -> ThreadWorker:
        self._worker = ThreadWorker(self._registry, service, tasks)
        return self._worker

    def _hear(self, happening: Happening) -> None:
        """Say what a terminal is told, but for where the server is: that is shown."""
        if isinstance(happening, Ready):
            self._is_ready.set()
        else:
            self._text(happening)

    def _end_with_kernel(self) -> None:
        self._stop()
        self._thread.join(STOP_WITHIN)


def _described(server: RunningServer) -> str:
    """Return what is said of a server that is ready."""
    from rich.text import Text as RichText

    stream = StringIO()
    Text(stream, HOW_TO_STOP)(Ready(server))
    return RichText.from_ansi(stream.getvalue().rstrip()).plain


def _settings() -> Settings:
    settings = load_settings(_file())
    if "port" in settings.given:
        return settings
    try:
        bind(settings.host, settings.port).close()
    except StartError:
        # Another notebook may have the usual one, and what counts is the URL that is shown.
        return replace(settings, port=0)
    return settings


def _key() -> str:
    """Return what tells this notebook from others: its path, where its server says that."""
    name = _name()
    return str(Path(name).absolute() if name else Path.cwd() / "notebook")


def _file() -> Path | None:
    """Return the notebook, if it can be found."""
    name = _name()
    return Path(name) if name and Path(name).is_file() else None


def _name() -> str | None:
    in_vs_code = vars(sys.modules["__main__"]).get("__vsc_ipynb_file__")
    return os.environ.get("JPY_SESSION_NAME") or in_vs_code
