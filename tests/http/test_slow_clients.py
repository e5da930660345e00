"""Senders that take their time, so that others have none."""

import asyncio
import json
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from hfhooks.http.limits import READ_WITHIN
from hfhooks.http.listener import Listener, awaiting, bind
from hfhooks.tasks import Tasks
from tests.harness import wait_until
from tests.http.test_listener import echo

HEAD = b"POST /webhooks/train HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
EVENT = {"event": {"scope": "repo", "action": "update"}, "repo": {"type": "model", "name": "a/b"}}
BODY = json.dumps(EVENT).encode()
SLACK = 5.0
"""Seconds that a busy machine may take longer."""

Shape = tuple[bytes, bytes]
"""What is sent at once, and what is sent again and again after it."""
SHAPES: dict[str, Shape] = {
    "silence": (b"", b""),
    "half a line": (b"POST /webhooks/tr", b""),
    "half a head": (HEAD, b""),
    "a head byte by byte": (HEAD + b"x: ", b"a"),
    "half a body": (HEAD + b"content-length: 10\r\n\r\n12345", b""),
    "a body byte by byte": (HEAD + b"content-length: 1000\r\n\r\n{", b" "),
    "chunks without end": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


async def dawdle(port: int, shape: Shape, every: float) -> tuple[float, bytes]:
    """Return after how many seconds the server had enough, and what it said."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.write(shape[0])
        reading = asyncio.ensure_future(reader.read())
        with suppress(ConnectionError):
            while not (await asyncio.wait({reading}, timeout=every))[0]:
                writer.write(shape[1])
        with suppress(ConnectionError):
            return loop.time() - began, await reading
    return loop.time() - began, b""


@pytest.mark.parametrize("name", SHAPES)
async def test_who_takes_too_long_is_told_so(name: str, tasks: Tasks) -> None:
    sock = bind("127.0.0.1", 0)
    listener = Listener(awaiting(echo, tasks), sock, tasks, patience=1, read_within=0.3)
    listening = asyncio.create_task(listener.listen())
    async with asyncio.timeout(10):
        _, said = await dawdle(sock.getsockname()[1], SHAPES[name], every=0.05)
    assert said.startswith(b"HTTP/1.1 408 ") or (name == "silence" and said == b"")
    listener.stop()
    await listening
    sock.close()


async def posted(port: int) -> int:
    """Return the status of a good request's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.write(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY)
        return int((await reader.read()).split()[1])


async def post_beside(port: int, slow: int, a_second: int) -> tuple[list[int], list[float]]:
    """Send good requests for as long as slow ones are there; return what came of both."""
    shapes = list(SHAPES.values())
    slow_ones = [
        asyncio.ensure_future(dawdle(port, shapes[number % len(shapes)], every=1.0))
        for number in range(slow)
    ]
    good_ones = []
    while not all(task.done() for task in slow_ones):
        good_ones.append(asyncio.ensure_future(posted(port)))
        await asyncio.wait(slow_ones, timeout=1 / a_second)
    return await asyncio.gather(*good_ones), [(await task)[0] for task in slow_ones]


def test_200_of_them_disturb_nobody(start: Callable[..., Any], script: Callable[..., Path]) -> None:
    text = "from hfhooks import webhook_endpoint\n\n@webhook_endpoint\ndef train():\n    return 1\n"
    server = start(script(text))
    port = int(server.ready["local_url"].rpartition(":")[2])
    statuses, seconds = asyncio.run(post_beside(port, slow=200, a_second=50))
    assert set(statuses) <= {200, 202}
    assert len(statuses) > 100
    assert max(seconds) < READ_WITHIN + SLACK

    def is_over() -> bool:
        found = psutil.Process(server.process.pid).net_connections("tcp")
        return not [each for each in found if each.laddr.port == port and each.raddr]

    wait_until(is_over)
    wait_until(lambda: len(server.deliveries) == len(statuses))
    assert "Traceback" not in server.stderr


async def posted_beside(port: int, count: int, sent: bytes) -> list[int]:
    """Have so many connections send this and take nothing; return what good requests get then."""
    others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in others:
        writer.write(sent)
    statuses = [await posted(port) for _ in range(10)]
    for _, writer in others:
        writer.transport.abort()
    return statuses


@pytest.mark.parametrize(
    ("count", "sent"),
    [(512, b"P"), (500, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 9000)],
    ids=["one byte", "many requests at once"],
)
def test_good_senders_come_through(
    start: Callable[..., Any], script: Callable[..., Path], count: int, sent: bytes
) -> None:
    text = "from hfhooks import webhook_endpoint\n\n@webhook_endpoint\ndef train():\n    return 1\n"
    server = start(script(text))
    port = int(server.ready["local_url"].rpartition(":")[2])
    statuses = asyncio.run(posted_beside(port, count, sent))
    assert set(statuses) <= {200, 202}
