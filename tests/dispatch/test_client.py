import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hfhooks.dispatch.client import Response, WorkerClient, WorkerGone

HEADERS = [("content-type", "application/json")]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Own: 1\r\n\r\nok"


class Peer:
    """A worker of few words: answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections: list[asyncio.Task[Any] | None] = []
        self.requests: list[bytes] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        with suppress(ConnectionError):
            while head := await reader.read(65536):
                self.requests.append(head)
                await self.hold.wait()
                if not self.answer:
                    break
                writer.write(self.answer)
            writer.close()
            await writer.wait_closed()


async def send(client: WorkerClient, target: str, headers: Any, body: bytes) -> Response:
    connection = await client.connect()
    return await connection.post(target, headers, body)


async def begun(client: WorkerClient, peer: Peer) -> asyncio.Task[Response]:
    """Send a request whose answer the peer holds back."""
    peer.hold.clear()
    sending = asyncio.create_task(send(client, "/", HEADERS, b"{}"))
    while not peer.requests:
        await asyncio.sleep(0)
    return sending


@asynccontextmanager
async def talking(answer: bytes, path: Path | None) -> AsyncIterator[tuple[WorkerClient, Peer]]:
    """Give a client and the worker it talks to, over a Unix socket or a port with a token."""
    peer = Peer(answer)
    if path:
        server = await asyncio.start_unix_server(peer, path)
        client = WorkerClient(str(path))
    else:
        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        client = WorkerClient(server.sockets[0].getsockname()[1], token="t0ken")
    try:
        yield client, peer
    finally:
        client.close()
        server.close()
        await asyncio.wait_for(asyncio.gather(*filter(None, peer.connections)), 5)


async def test_a_request_and_its_answer(tmp_path: Path) -> None:
    async with talking(OK, tmp_path / "s") as (client, peer):
        response = await send(client, "/webhooks/a?b=1", HEADERS, b"{}")
    assert (response.status, response.body, response.outcome) == (200, b"ok", None)
    assert response.headers == [(b"content-length", b"2"), (b"x-own", b"1")]
    assert peer.requests == [
        b"POST /webhooks/a?b=1 HTTP/1.1\r\ncontent-type: application/json\r\n"
        b"content-length: 2\r\n\r\n{}"
    ]


async def test_a_connection_is_kept(tmp_path: Path) -> None:
    async with talking(OK, tmp_path / "s") as (client, peer):
        for _ in range(3):
            await send(client, "/", HEADERS, b"{}")
        assert len(peer.connections) == 1


async def test_requests_at_once_have_connections_of_their_own(tmp_path: Path) -> None:
    async with talking(OK, tmp_path / "s") as (client, peer):
        await asyncio.gather(*(send(client, "/", HEADERS, b"{}") for _ in range(5)))
        assert len(peer.connections) == 5


async def test_a_connection_the_worker_wants_closed_is_not_kept(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with talking(answer, tmp_path / "s") as (client, peer):
        await send(client, "/", HEADERS, b"{}")
        await send(client, "/", HEADERS, b"{}")
        assert len(peer.connections) == 2


async def test_chunked_answers_are_put_together(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    async with talking(answer, tmp_path / "s") as (client, _):
        assert (await send(client, "/", HEADERS, b"{}")).body == b"abc"


async def test_an_outcome_is_read_from_its_header(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 500 X\r\nHfhooks-Outcome: raised\r\ncontent-length: 0\r\n\r\n"
    async with talking(answer, tmp_path / "s") as (client, _):
        assert (await send(client, "/", HEADERS, b"{}")).outcome == "raised"


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x"]
)
async def test_a_worker_that_answers_no_http_is_gone(tmp_path: Path, answer: bytes) -> None:
    async with talking(answer, tmp_path / "s") as (client, _):
        with pytest.raises(WorkerGone):
            await send(client, "/", HEADERS, b"{}")


async def test_no_worker_at_all_is_gone(tmp_path: Path) -> None:
    with pytest.raises(WorkerGone):
        await WorkerClient(str(tmp_path / "nobody")).connect()


async def test_an_idle_connection_that_was_closed_is_not_used(tmp_path: Path) -> None:
    async with talking(OK, tmp_path / "s") as (client, peer):
        await send(client, "/", HEADERS, b"{}")
        peer.answer = b""
        with pytest.raises(WorkerGone):
            await send(client, "/", HEADERS, b"{}")
        peer.answer = OK
        assert (await send(client, "/", HEADERS, b"{}")).status == 200
        assert len(peer.connections) == 2


async def test_giving_up_closes_the_connection(tmp_path: Path) -> None:
    async with talking(OK, tmp_path / "s") as (client, peer):
        peer.hold.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send(client, "/", HEADERS, b"{}"), 0.02)
        peer.hold.set()
        assert (await send(client, "/", HEADERS, b"{}")).body == b"ok"
        assert len(peer.connections) == 2


async def test_closing_lets_a_running_request_end(tmp_path: Path) -> None:
    async with talking(OK, tmp_path / "s") as (client, peer):
        running = await begun(client, peer)
        client.close()
        peer.hold.set()
        assert (await running).body == b"ok"


async def test_on_a_port_the_token_goes_along() -> None:
    async with talking(OK, None) as (client, peer):
        await send(client, "/", HEADERS, b"{}")
        assert b"\r\nhfhooks-token: t0ken\r\n" in peer.requests[0]


async def test_the_answers_of_a_worker_that_is_gone_are_given_up(tmp_path: Path) -> None:
    """Its children may hold its sockets open: nothing else would tell us."""
    async with talking(OK, tmp_path / "w.sock") as (client, peer):
        sending = await begun(client, peer)
        client.abort()
        with pytest.raises(WorkerGone):
            await sending
        peer.hold.set()
