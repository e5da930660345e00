import asyncio
import errno
import socket
from typing import Any

import pytest

from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.listener import Listener, bind, run
from tests.harness import request


def test_port_0_takes_a_free_one() -> None:
    with bind("127.0.0.1", 0) as sock:
        assert sock.getsockname()[1] > 0


def test_an_ipv6_address() -> None:
    with bind("::1", 0) as sock:
        assert sock.family == socket.AF_INET6


def test_a_busy_port_says_what_to_do() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} is in use") as caught:
            bind("127.0.0.1", port)
    assert "--port" in str(caught.value.help)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (socket.gaierror(-2, "x"), UsageError, "--host h: no such address"),
        (OSError(errno.EADDRNOTAVAIL, "x"), UsageError, "--host h: not an address of this"),
        (PermissionError(errno.EACCES, "Permission denied"), StartError, "Permission denied"),
    ],
)
def test_an_address_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[HfhooksError], words: str
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(kind, match=words):
        bind("h", 80)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_it_serves_until_told_to_stop(monkeypatch: pytest.MonkeyPatch, has_uvloop: bool) -> None:
    if not has_uvloop:
        monkeypatch.setitem(__import__("sys").modules, "uvloop", None)

    async def main() -> tuple[int, str | None]:
        sock = bind("127.0.0.1", 0)
        started = asyncio.Event()
        server = Listener(hello, sock, started.set)
        listening = asyncio.create_task(server.listen())
        await started.wait()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        answer = await asyncio.to_thread(request, "GET", url)
        server.stop()
        await listening
        return answer.status, answer.headers["server"]

    assert run(main()) == (200, None)
