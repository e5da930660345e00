"""Guards around every test: no home folder, no network, no sleeping."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hfhooks.redact import ENVIRONMENT
from tests.harness import Server

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
    monkeypatch.setattr(socket.socket, "connect", _only_loopback(socket.socket.connect))


def _sleep_of_libraries(sleep: Callable[[float], None]) -> Callable[[float], None]:
    def guarded(seconds: float) -> None:
        caller = sys._getframe(1).f_globals["__name__"].partition(".")[0]
        assert caller not in ("hfhooks", "tests"), "tests do not sleep: use wait_until"
        sleep(seconds)

    return guarded


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
