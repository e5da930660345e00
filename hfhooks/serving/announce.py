"""What a server tells of itself: to subscribers, and in a file by which other commands find it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hfhooks.errors import StartError
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.happenings import Happening, Note, Ready, TunnelDown, TunnelUp
from hfhooks.model.running_server import RunningServer
from hfhooks.private import check_private, is_alive, servers_folder, write_private
from hfhooks.secret import environment_secrets
from hfhooks.tunnels.keeper import Keeper

__all__ = ["Announcement", "Known", "announced"]

REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # all addresses → one of them


@dataclass(frozen=True)
class Known:
    """What is known of a server from its start to its stop."""

    host: str
    """What is listened on."""
    port: int
    inspector_url: str
    wait: float
    journal: str
    token: str = field(repr=False)
    space_url: str | None = None
    """Where everybody reaches the Space that it is in."""

    @property
    def local_url(self) -> str:
        host = REACHED_AT.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"


class Announcement:
    """Tells everybody where a server is and what it serves, as that changes.

    `changed` is called whenever a URL has.
    """

    def __init__(
        self, known: Known, tell: Callable[[Happening], None], changed: Callable[[], None]
    ) -> None:
        self.endpoints: Sequence[Endpoint] = []
        self.keeper: Keeper | None = None
        """Of the tunnel, if there is to be one."""
        self._known = known
        self.tell, self._changed = tell, changed
        self._write: Callable[[RunningServer], None] = lambda _: None
        """Tells the other commands, once there is a server for them."""
        self._is_ready = False
        self._down_because = ""
        """Why nothing comes by the public URL."""
        self._shown_url: str | None = None
        """The public URL that was said last."""

    @property
    def local_url(self) -> str:
        return self._known.local_url

    @property
    def public_url(self) -> str | None:
        return self.keeper.url if self.keeper else self._known.space_url

    @property
    def url(self) -> str:
        """Where the server is reached: by everybody, if there is a way."""
        return self.public_url or self.local_url

    @property
    def published(self) -> list[Published]:
        """The endpoints, as others may know them."""
        environment = environment_secrets(os.environ)
        return [Published.of(endpoint, environment) for endpoint in self.endpoints]

    @property
    def described(self) -> RunningServer:
        """What others need to know of the server now."""
        known, keeper = self._known, self.keeper
        return RunningServer(
            pid=os.getpid(),
            host=known.host,
            port=known.port,
            url=self.url,
            local_url=known.local_url,
            inspector_url=known.inspector_url,
            tunnel=keeper.name if keeper and keeper.url is not None else None,
            is_up=keeper is None or keeper.is_up,
            endpoints=self.published,
            wait=known.wait,
            journal=known.journal,
            token=known.token,
        )

    @contextmanager
    def made(self, reloads: bool) -> Iterator[None]:
        """Say that deliveries are accepted, and let the other commands find the server."""
        with ExitStack() as stack:
            try:
                self._write = stack.enter_context(announced(self.described))
            except (OSError, StartError) as error:
                self.tell(Note(f"other commands will not find this server: {error}"))
            self.tell(Ready(self.described, reloads))
            self._is_ready = True
            if self.keeper and not self.keeper.is_up:
                self.tell(TunnelDown(self.keeper.url, self._down_because))
            yield

    def update(self) -> None:
        """Tell everybody what has changed."""
        self._changed()
        with suppress(OSError):
            self._write(self.described)

    def up(self, url: str) -> None:
        """Tell everybody the public URL, by which what is sent arrives."""
        before, self._shown_url = self._shown_url, url
        self.update()
        if self._is_ready:
            self.tell(TunnelUp(self.described, before))

    def down(self, url: str | None, why: str) -> None:
        """Say that nothing comes from outside, for now."""
        self.update()
        self._down_because = why
        if self._is_ready:
            self.tell(TunnelDown(url, why))


@contextmanager
def announced(server: RunningServer) -> Iterator[Callable[[RunningServer], None]]:
    """Describe this server to the other commands for as long as it runs.

    Yields what tells them when something about it has changed.
    """
    folder = servers_folder()
    check_private(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_the_dead(folder)
    file = folder / f"{server.port}-{server.pid}.json"
    write_private(file, server.as_json())
    try:
        yield lambda changed: write_private(file, changed.as_json())
    finally:
        file.unlink(missing_ok=True)


def _forget_the_dead(folder: Path) -> None:
    """Remove what servers left that were killed."""
    for file in folder.glob("*-*.json"):
        pid = file.stem.rpartition("-")[2]
        if pid.isdecimal() and not is_alive(int(pid)):
            file.unlink(missing_ok=True)
