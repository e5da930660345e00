"""Programs that open tunnels: how they are run, and what they say."""

import asyncio
import os
import re
import secrets
import shutil
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import IO

from hfhooks.errors import CredentialsError, StartError, TunnelError
from hfhooks.private import check_private, is_alive, state_folder
from hfhooks.processes import noted
from hfhooks.tunnels.tunnel import Gone, Moved, Tell

__all__ = ["environment", "find_program", "opened_by", "private_folder"]

URL_WITHIN = 20.0
"""Seconds in which a program must have said its URL."""
END_WITHIN = 1.0
"""Seconds that a program gets to leave before it is killed."""
DENIED = re.compile(r"permission denied|authentication fail", re.IGNORECASE)
REASON = re.compile(r"\berr|denied|refused|fail|cannot|no such|not found|timed out", re.IGNORECASE)


def environment() -> dict[str, str]:
    """Return the environment of a program that opens a tunnel, which no secret of ours concerns."""
    return {name: value for name, value in os.environ.items() if not _is_secret(name)}


def _is_secret(name: str) -> bool:
    return name.startswith("WEBHOOK_SECRET") or name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def find_program(name: str, help: str) -> str:
    """Return the path of a program. Raises `TunnelError` if it is not installed."""
    if (found := shutil.which(name)) is None:
        raise TunnelError(f"the program {name} is not installed.", help)
    return found


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for what a program needs, for this user's eyes only, and remove it after."""
    home = state_folder() / "programs"
    check_private(home)
    _forget_the_dead(home)
    folder = home / f"{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}.", "Choose another home folder.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forget_the_dead(home: Path) -> None:
    """Remove what those left that were killed."""
    for folder in home.glob("*-*"):
        owner = folder.name.partition("-")[0]
        if owner.isdecimal() and not is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def opened_by(
    command: Sequence[str], url_in: Callable[[str], str | None], tell: Tell
) -> AsyncIterator[str]:
    """Run a program that opens a tunnel, and yield the URL that `url_in` finds in a line it says.

    Raises `TunnelError` with the program's own last words when it ends before that.
    """
    with _Program(command) as program, noted(program.pid):
        url = await program.find(url_in)
        watching = asyncio.create_task(_watch(program, url_in, tell))
        try:
            yield url
        finally:
            watching.cancel()


async def _watch(program: "_Program", url_in: Callable[[str], str | None], tell: Tell) -> None:
    try:
        while True:
            tell(Moved(await program.find(url_in, within=None)))
    except Exception as error:  # noqa: BLE001 # whatever it is, it is opened anew
        tell(Gone(str(error) or type(error).__name__))


class _Program:
    """A program whose output is read to its end, whatever is made of it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._name = Path(command[0]).name
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._last: deque[str] = deque(maxlen=20)
        self._loop = asyncio.get_running_loop()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,  # Ctrl-C is for us, who end it in our own time
            )
        except OSError as error:
            raise TunnelError(f"{command[0]}: {error.strerror}.") from error
        assert self._process.stdout
        streams = (self._process.stdout,)
        self._reader = Thread(target=self._read, args=streams, daemon=True, name="hfhooks-program")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _last_words(self) -> str:
        """Return what it said last, if possible something that sounds like a reason."""
        reasons = [line for line in self._last if REASON.search(line)]
        return (reasons or list(filter(None, self._last)) or ["it said nothing."])[-1]

    async def find(
        self, url_in: Callable[[str], str | None], within: float | None = URL_WITHIN
    ) -> str:
        """Return the first URL in what it says from now on.

        Raises `TunnelError` when it ends, or says no such thing in so many seconds.
        """
        try:
            async with asyncio.timeout(within):
                while (line := await self._lines.get()) is not None:
                    self._last.append(line)
                    if url := url_in(line):
                        return url
        except TimeoutError:
            raise TunnelError(f"{self._name} has said no URL in {within:g} seconds.") from None
        words = self._last_words().removeprefix(f"{self._name}: ")
        kind = CredentialsError if DENIED.search(words) else TunnelError
        raise kind(f"{self._name} has ended: {words}")

    def _read(self, stream: IO[bytes]) -> None:
        try:
            with stream:
                for line in stream:
                    self._say(line.decode(errors="replace").strip())
        except Exception as error:  # noqa: BLE001 # of what it says nothing more is known
            self._say(f"error: {error}")
        self._say(None)

    def _say(self, line: str | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: we are leaving
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    def __enter__(self) -> "_Program":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        self._reader.join(END_WITHIN)
