import asyncio
import socket
from typing import Any

from hfhooks.worker.listener import Listener
from tests.harness import request


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_it_serves_until_told_to_stop() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    started = asyncio.Event()
    server = Listener(hello, sock, started.set)
    listening = asyncio.create_task(server.listen())
    await started.wait()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    answer = await asyncio.to_thread(request, "GET", url)
    server.stop()
    await listening
    assert (answer.status, answer.body, answer.headers["server"]) == (200, b"hello", None)
