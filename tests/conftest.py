"""Guards around every test: no home folder, no network, no sleeping."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hfhooks.redact import ENVIRONMENT
from tests.harness import Server

pytest_plugins = ["tests.wired"]
NOT_OURS = ("FORCE_COLOR", "SPACE_ID", *ENVIRONMENT)
"""What the environment may have and a test must not."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHARED = '@pytest.fixture(scope="module"'


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give one process all the tests of a module that share something, so that it is made once."""
    from xdist.scheduler import LoadScopeScheduling

    root = Path(__file__).parents[1]
    files = [*root.glob("tests/**/test_*.py")]
    sharing = {str(file.relative_to(root)) for file in files if SHARED in file.read_text()}

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no types
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return module if module in sharing else nodeid

    return Scheduling(config, log)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what we start is to hear Ctrl-C


@pytest.fixture(autouse=True)
def guards(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("NO_COLOR", "1")
    for name in NOT_OURS:
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("HFHOOKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(time, "sleep", _sleep_of_libraries(time.sleep))
    monkeypatch.setattr(asyncio, "sleep", _turn_of_tests(asyncio.sleep))
    monkeypatch.setattr(threading.Event, "wait", _wait_not_in_vain(threading.Event.wait))
    monkeypatch.setattr(socket.socket, "connect", _only_loopback(socket.socket.connect))


SQLITES = (".db", ".db-wal", ".db-shm", ".lock")


def _keep_locks(event: str, arguments: tuple[Any, ...]) -> None:
    """Let nobody open what SQLite has open here: closing it would drop SQLite's locks."""
    if event != "open" or not isinstance(arguments[0], str | os.PathLike):
        return
    name, flags = os.fsdecode(arguments[0]), arguments[2] or 0
    if name.endswith(SQLITES) and not flags & os.O_EXCL:  # by which nothing is opened that is there
        path = os.path.realpath(name)
        opened = map(os.path.realpath, Path("/proc/self/fd").iterdir())
        assert path not in opened, f"{name} is open in this process: see harness.content_of"


if sys.platform == "linux":
    sys.addaudithook(_keep_locks)


def _sleep_of_libraries(sleep: Callable[[float], None]) -> Callable[[float], None]:
    def guarded(seconds: float) -> None:
        caller = sys._getframe(1).f_globals["__name__"].partition(".")[0]
        assert caller not in ("hfhooks", "tests"), "tests do not sleep: use wait_until"
        sleep(seconds)

    return guarded


def _turn_of_tests(sleep: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(seconds: float, *args: Any) -> Any:
        assert not (seconds and _is_test(sys._getframe(1))), "tests do not sleep: use until"
        return sleep(seconds, *args)

    return guarded


def _wait_not_in_vain(wait: Callable[..., bool]) -> Callable[..., bool]:
    def guarded(event: threading.Event, timeout: float | None = None) -> bool:
        is_set = wait(event, timeout)
        is_sleep = not is_set and _is_test(sys._getframe(1))
        assert not is_sleep, "nothing happened: to sleep is not to wait, use wait_until"
        return is_set

    return guarded


def _is_test(frame: FrameType) -> bool:
    name: str = frame.f_globals["__name__"]
    return name.partition(".")[0] == "tests" and name != "tests.harness"


def _only_loopback(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(sock: socket.socket, address: Any) -> Any:
        is_local = sock.family == socket.AF_UNIX or address[0] in LOOPBACK
        assert is_local, f"tests reach no network: {address}"
        return connect(sock, address)

    return guarded


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Measure no coverage in what is started: others execute the same, and it takes its time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a script and returns its path."""

    def write(text: str, name: str = "app.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Return a function that starts real servers; they end with the test."""
    servers: list[Server] = []

    def start_server(*arguments: Any, **options: Any) -> Server:
        servers.append(Server(*arguments, **options))
        return servers[-1]

    yield start_server
    for server in servers:
        server.stop()
