"""Programs that run beside us: they end with us, however we end.

While we live a shell waits for the end of a pipe that only we hold, and then ends the program; it
works after `kill -9` too. Should it have been killed as well, the next start finds in the state
folder which program ran for whom.
"""

import asyncio
import json
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
from hfhooks.private import check_private, is_alive, state_folder, write_private
from hfhooks.tunnels.tunnel import Gone, Moved, Tell

__all__ = ["environment", "find_program", "guarded", "opened_by", "private_folder"]

URL_WITHIN = 20.0
"""Seconds in which a program must have said its URL."""
END_WITHIN = 1.0
"""Seconds that a program gets to leave before it is killed."""
GUARD = 'read _ || kill -TERM "$1"'
"""Waits for a line, or for the end of whoever would write it."""
RECORD = "program.json"
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
    end_orphans(home)
    folder = home / f"{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}.", "Choose another home folder.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end_orphans(home: Path) -> None:
    """End the programs of those that were killed, and remove what they left."""
    for folder in home.glob("*-*"):
        owner = folder.name.partition("-")[0]
        if not owner.isdecimal() or is_alive(int(owner)):
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads((folder / RECORD).read_text())
            command = _command_of(record["pid"])
            # Another program may have its number now.
            if command and (command == record["command"] or str(folder) in command):
                os.kill(record["pid"], 9)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def guarded(pid: int, folder: Path) -> Iterator[None]:
    """End a process when we end; its folder is to be a `private_folder`."""
    write_private(folder / RECORD, {"pid": pid, "command": _command_of(pid)})
    if os.name == "nt":
        yield
        return
    with subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "hfhooks", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    ) as guard:
        try:
            yield
        finally:
            with suppress(BrokenPipeError):  # somebody has ended it
                guard.communicate(b"\n")


def _command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]  # there is no /proc
        return subprocess.check_output(command, stderr=subprocess.DEVNULL).decode("latin-1")
    return ""


@asynccontextmanager
async def opened_by(
    command: Sequence[str], url_in: Callable[[str], str | None], tell: Tell
) -> AsyncIterator[str]:
    """Run a program that opens a tunnel, and yield the URL that `url_in` finds in a line it says.

    Raises `TunnelError` with the program's own last words when it ends before that.
    """
    with private_folder() as folder, _Program(command) as program, guarded(program.pid, folder):
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
