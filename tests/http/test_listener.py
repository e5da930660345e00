import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import psutil
import pytest

import tests.conftest
from hfhooks.errors import HfhooksError, StartError, UsageError
from hfhooks.http.connection import peer_of
from hfhooks.http.limits import MAX_BODY
from hfhooks.http.listener import Listener, awaiting, bind
from hfhooks.http.messages import Answer, Request
from hfhooks.http.passage import Site
from hfhooks.model.refusal import Refusal
from hfhooks.tasks import Tasks
from tests.harness import polled, until
from tests.wired import body_of


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


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops have transports of their own."""
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


class Sender:
    """One connection to a listener that a test writes bytes to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def half_close(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer."""
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
            return int(first.split()[1]), headers, body

    async def status(self) -> int:
        return (await self.answer())[0]

    async def rest(self) -> bytes:
        """Return what comes until the listener closes the connection, gently or not."""
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                return await self._reader.read()
        return b""


async def echo(request: Request) -> Answer:
    """Answer with what was sent."""
    try:
        if request.bad_head:
            raise request.bad_head
        body = await body_of(request)
    except Refusal as refusal:
        return Answer(refusal.status, refusal.word.encode())
    return Answer(200, f"{request.method} {request.path} {request.query} ".encode() + body)


class Held:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self._go_on = asyncio.Event()

    def let_go(self) -> None:
        self._go_on.set()

    async def __call__(self, request: Request) -> Answer:
        self.begun += 1
        await self._go_on.wait()
        return await echo(request)


class Rig:
    """A listener that answers in the test's event loop."""

    def __init__(
        self, listener: Listener, address: tuple[str, int], faults: list[Exception]
    ) -> None:
        self.listener, self.address = listener, address
        self.faults = faults
        self.senders: list[Sender] = []

    async def connect(self, data: bytes = b"") -> Sender:
        """Connect, and send something that the listener has seen then."""
        sender = Sender(*await asyncio.open_connection(*self.address))
        self.senders.append(sender)
        sender.send(data)
        await polled()
        return sender

    async def someone_is_too_late(self) -> None:
        """Return when a request that was begun now has taken too long."""
        late = await self.connect(b"POST")
        assert await late.status() == 408


@asynccontextmanager
async def serving(
    respond: Any = echo, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Rig]:
    sock = bind(host, 0)
    faults: list[Exception] = []
    tasks = Tasks(faults.append, faults.append)
    listener = Listener(
        awaiting(respond, tasks), sock, tasks, **{"patience": 5, "read_within": 1, **options}
    )
    listening = asyncio.create_task(listener.listen())
    rig = Rig(listener, sock.getsockname(), faults)
    try:
        yield rig
    finally:
        listener.stop()
        await listening
        sock.close()
        for sender in rig.senders:
            sender.close()


def post(body: bytes, *fields: str, version: str = "1.1") -> bytes:
    lines = [f"POST /p?q=1 HTTP/{version}", "host: x", f"content-length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_request_is_answered() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"{}"))
        status, headers, body = await sender.answer()
        assert (status, body) == (200, b"POST /p q=1 {}")
        assert headers["content-type"] == "application/json"
        assert headers["date"].endswith(" GMT") and "server" not in headers


async def test_a_connection_takes_one_request_after_the_other() -> None:
    async with serving() as rig:
        sender = await rig.connect()
        for number in range(3):
            sender.send(post(b"%d" % number))
            assert (await sender.answer())[2] == b"POST /p q=1 %d" % number


async def test_requests_sent_without_waiting_are_answered_in_their_order() -> None:
    async with serving() as rig:
        sender = await rig.connect(b"".join(post(b"%d" % number) for number in range(20)))
        bodies = [(await sender.answer())[2] for _ in range(20)]
        assert bodies == [b"POST /p q=1 %d" % number for number in range(20)]


async def test_of_many_sent_without_waiting_one_is_begun_at_a_time() -> None:
    async with serving(held := Held(), read_within=30) as rig:
        sender = await rig.connect(post(b"1") * 5000)
        await until(lambda: held.begun)
        await polled()
        assert held.begun == 1 and rig.listener.room.ahead > 50_000
        held.let_go()
        assert [await sender.status() for _ in range(5000)] == [200] * 5000
        assert rig.listener.room.ahead == 0


async def test_what_follows_unanswered_requests_is_held_up_to_a_limit_together() -> None:
    async with serving(held := Held()) as rig:
        rig.listener.room.most_ahead = 250
        first, second = [await rig.connect(post(b"1") * 2) for _ in range(2)]
        third = await rig.connect(post(b"3") * 3)
        held.let_go()
        for sender in (first, second):
            assert [await sender.status(), await sender.status()] == [200, 200]
        status, headers, _ = await third.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await third.rest() == b"" and rig.listener.room.ahead == 0


async def test_a_request_that_follows_unfinished_is_read_when_its_turn_has_come() -> None:
    async with serving(held := Held()) as rig:
        second = post(b"x" * 500_000)
        sender = await rig.connect(post(b"1") + second[:100])
        sender.send(second[100:])
        held.let_go()
        assert (await sender.answer())[2].endswith(b" 1")
        assert len((await sender.answer())[2]) > 500_000


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serving() as rig:
        sender = await rig.connect()
        for byte in post(b"abc"):
            sender.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await sender.answer())[2] == b"POST /p q=1 abc"


async def test_a_body_in_chunks_is_put_together() -> None:
    head = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving() as rig:
        sender = await rig.connect(head + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        assert (await sender.answer())[2] == b"POST /c  abcde"


async def test_the_largest_body_is_accepted() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"x" * MAX_BODY))
        assert await sender.status() == 200


async def test_a_length_that_is_too_big_is_not_read() -> None:
    async with serving() as rig:
        sender = await rig.connect(
            post(b"")[:-4].replace(b": 0", b": %d" % (MAX_BODY + 1)) + b"\r\n\r\n"
        )
        status, headers, body = await sender.answer()
        assert (status, headers["connection"], body) == (413, "close", b"too_big")
        assert await sender.rest() == b""


async def test_a_stream_that_is_too_big_is_not_read_to_its_end() -> None:
    head = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving() as rig:
        sender = await rig.connect(head)
        for _ in range(MAX_BODY // 65536 + 1):
            sender.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert await sender.status() == 413
        assert await sender.rest() == b""


async def test_a_sender_still_sending_hears_why_it_is_refused() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"x" * 20_000_000))
        assert await sender.status() == 413


async def test_a_sender_that_asks_first_is_told_to_go_on() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"abc", "expect: 100-continue")[:-3])
        assert await sender.status() == 100
        sender.send(b"abc")
        assert (await sender.answer())[2] == b"POST /p q=1 abc"


async def test_a_sender_that_asks_first_is_not_told_to_go_on_in_vain() -> None:
    async def refuse(_: Request) -> Answer:
        return Answer(401, b"no")

    async with serving(refuse) as rig:
        sender = await rig.connect(post(b"abc", "expect: 100-continue")[:-3])
        assert await sender.status() == 401


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET @elsewhere HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 70 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\na: " + b"b" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\na: " + b"b" * 5_000_000, 431),
        (post(b"{}", "x-webhook-secret: a", "x-webhook-secret: b"), 400),
        (post(b"{}", "transfer-encoding: chunked"), 400),
        (post(b"{}", "content-length: 3"), 400),
        (post(b"{}").replace(b": 2", b": +2"), 400),
        (post(b"{}").replace(b": 2", b": 9223372036854775808000"), 400),
        (
            post(b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"") + b"z",
            400,
        ),
        (post(b"{}", "connection: upgrade", "upgrade: h2c"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"hello\r\n\r\n", 400),
    ],
)
async def test_a_bad_head_is_refused_and_nothing_after_it_is_heard(
    request_: bytes, status: int
) -> None:
    async with serving() as rig:
        sender = await rig.connect(request_)
        assert await sender.status() == status
        sender.send(post(b"{}"))
        assert await sender.rest() == b""


async def test_what_a_bad_request_follows_is_answered_first() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"1") + b"nonsense\r\n\r\n")
        assert [await sender.status() for _ in range(2)] == [200, 400]
        assert await sender.rest() == b""


async def test_who_says_no_more_is_still_answered_all_it_asked() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"1") + post(b"2") + post(b"3")[:-1])
        sender.half_close()
        assert [await sender.status() for _ in range(3)] == [200, 200, 400]
        assert await sender.rest() == b""


async def test_http_1_0_gets_one_answer() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"1", "connection: keep-alive", version="1.0"))
        assert await sender.status() == 200
        assert await sender.rest() == b""


async def test_a_sender_that_wants_no_more_gets_no_more() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"1", "connection: close"))
        _, headers, _ = await sender.answer()
        assert headers["connection"] == "close" and await sender.rest() == b""


UPGRADE = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AA")


async def test_an_offer_to_speak_another_protocol_is_not_taken() -> None:
    async with serving() as rig:
        sender = await rig.connect(post(b"", *UPGRADE))
        assert await sender.status() == 200
        assert await sender.rest() == b""


async def test_a_head_wanted_alone_comes_alone() -> None:
    async with serving() as rig:
        sender = await rig.connect(b"HEAD /h HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head = await sender.rest()
        assert b"content-length: 9\r\n" in head and head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("status", "line"), [(204, b"204 No Content"), (299, b"299 ")])
async def test_other_statuses(status: int, line: bytes) -> None:
    async def respond(_: Request) -> Answer:
        return Answer(status, b"x")

    async with serving(respond) as rig:
        sender = await rig.connect(post(b"", "connection: close"))
        answer = await sender.rest()
        assert answer.startswith(b"HTTP/1.1 " + line + b"\r\n")
        assert answer.endswith(b"\r\n\r\n" if status == 204 else b"\r\n\r\nx")
        assert (b"content-length" in answer) is (status != 204)


@pytest.mark.parametrize(
    ("begun", "status"),
    [(post(b"abc")[:-1], 408), (post(b"abc")[:20], 408), (b"", None)],
    ids=["in the body", "in the head", "before it"],
)
async def test_who_takes_too_long_is_not_waited_for(begun: bytes, status: int | None) -> None:
    async with serving(read_within=0.1) as rig:
        sender = await rig.connect(begun)
        if status:
            assert await sender.status() == status
        assert await sender.rest() == b""


async def test_who_sends_a_byte_now_and_then_is_not_waited_for_either() -> None:
    async with serving(read_within=0.2) as rig:
        sender = await rig.connect()
        answering = asyncio.create_task(sender.status())
        for byte in post(b"x" * 1000):
            if answering.done():
                break
            sender.send(bytes([byte]))
            await asyncio.wait({answering}, timeout=0.02)
        assert await answering == 408


async def test_who_has_had_an_answer_may_rest() -> None:
    async with serving(read_within=0.1) as rig:
        sender = await rig.connect(post(b"1"))
        await sender.answer()
        await rig.someone_is_too_late()
        sender.send(post(b"2"))
        assert await sender.status() == 200


async def test_a_handler_may_take_longer_than_a_request() -> None:
    held = Held()

    async def slow(request: Request) -> Answer:
        return await (echo if request.bad_head else held)(request)

    async with serving(slow, read_within=0.1) as rig:
        sender = await rig.connect(post(b"1"))
        await rig.someone_is_too_late()
        held.let_go()
        assert await sender.status() == 200


async def test_a_sender_that_leaves_early_is_refused() -> None:
    refusals = []

    async def respond(request: Request) -> Answer:
        try:
            await body_of(request)
        except Refusal as refusal:
            refusals.append(refusal.word)
        return Answer(200, b"")

    async with serving(respond) as rig:
        sender = await rig.connect(post(b"abc")[:-1])
        sender.close()
        await until(lambda: refusals)
        assert refusals == ["incomplete"]


async def test_a_sender_that_says_no_more_still_gets_its_answer() -> None:
    async with serving(held := Held()) as rig:
        sender = await rig.connect(post(b"1"))
        sender.half_close()
        await polled()
        held.let_go()
        assert await sender.status() == 200
        assert await sender.rest() == b""


async def test_a_fault_of_ours_is_a_500_and_the_listener_goes_on() -> None:
    async def broken(_: Request) -> Answer:
        raise RuntimeError("a fault")

    async with serving(broken) as rig:
        sender = await rig.connect(post(b"1"))
        assert (await sender.answer())[::2] == (500, b'{"error": "internal"}')
        assert "a fault in answering a request: RuntimeError: a fault" in str(rig.faults[0])
        sender.send(post(b"2"))
        assert await sender.status() == 500


async def test_a_new_connection_takes_the_place_of_one_that_rests() -> None:
    async with serving(most_connections=2) as rig:
        resting, busy = await rig.connect(post(b"1")), await rig.connect(post(b"2")[:-1])
        assert await resting.status() == 200
        newcomer = await rig.connect(post(b"3"))
        assert await newcomer.status() == 200
        assert await resting.rest() == b""
        busy.send(b"2")
        assert await busy.status() == 200


async def read() -> None:
    """Let the listener accept what has connected, and read what was sent."""
    for _ in range(10):
        await polled()


@pytest.mark.parametrize("begun", [b"P", post(b"1")[:-1]], ids=["in a head", "in a body"])
async def test_where_none_rests_the_one_that_takes_longest_gives_way(begun: bytes) -> None:
    async with serving(most_connections=2, read_within=30) as rig:
        slow = await rig.connect(begun)
        await read()
        younger = await rig.connect(post(b"2")[:-1])
        await read()
        newcomer = await rig.connect(post(b"3"))
        assert await newcomer.status() == 200
        assert await slow.rest() == b""
        younger.send(b"2")
        assert await younger.status() == 200


async def test_who_takes_no_answer_gives_way() -> None:
    big = Big()
    async with serving(big, most_connections=1) as rig:
        with await deaf(rig, post(b"1")):
            await until(lambda: big.answered)
            newcomer = await rig.connect(post(b"2"))
            assert await newcomer.status() == 200


async def test_where_all_are_being_answered_a_new_connection_is_closed() -> None:
    async with serving(held := Held(), most_connections=1) as rig:
        busy = await rig.connect(post(b"1"))
        await until(lambda: held.begun)
        turned_away = await rig.connect(post(b"2"))
        assert await turned_away.rest() == b""
        held.let_go()
        assert await busy.status() == 200


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address of this machine by which it looks like another one to itself."""
    found = [each for many in psutil.net_if_addrs().values() for each in many]
    ours = [each.address for each in found if each.family == socket.AF_INET]
    others = [each for each in ours if not each.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address but loopback")
    monkeypatch.setattr(tests.conftest, "LOOPBACK", others)  # to connect there reaches no network
    return others[0]


async def test_another_machine_has_no_more_than_its_share(address: str) -> None:
    async with serving(host=address, most_connections=4, read_within=30) as rig:
        ours = []
        for _ in range(3):
            ours.append(await rig.connect(post(b"1")[:-1]))
            await read()
        assert rig.listener.connections == 2
        assert await ours[0].rest() == b""
        for sender in ours[1:]:
            sender.send(b"1")
            assert await sender.status() == 200


async def test_a_machine_all_of_whose_requests_are_being_answered_gets_no_more(
    address: str,
) -> None:
    async with serving(held := Held(), host=address, most_connections=2) as rig:
        first = await rig.connect(post(b"1"))
        await until(lambda: held.begun)
        turned_away = await rig.connect(post(b"2"))
        assert await turned_away.rest() == b""
        held.let_go()
        assert await first.status() == 200
        first.close()
        await until(lambda: not rig.listener.connections)
        assert await (await rig.connect(post(b"3"))).status() == 200


async def test_this_machine_has_all_connections() -> None:
    async with serving(most_connections=4, read_within=30) as rig:
        for _ in range(4):
            await rig.connect(post(b"1")[:-1])
        assert rig.listener.connections == 4


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("127.0.0.2", 1), None),
        (("::1", 1, 0, 0), None),
        (("::ffff:127.0.0.1", 1, 0, 0), None),
        ("", None),
        (None, None),
        (("192.0.2.1", 1), bytes([192, 0, 2, 1])),
        (("::ffff:192.0.2.1", 1, 0, 0), bytes([192, 0, 2, 1])),
        (("2001:db8::1%eth0", 1, 0, 2), bytes([0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0])),
    ],
)
def test_what_counts_as_one_machine(name: object, peer: bytes | None) -> None:
    assert peer_of(name) == peer


@asynccontextmanager
async def pages() -> AsyncIterator[Site]:
    """A site that answers when it has read all of a request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            with suppress(asyncio.IncompleteReadError):
                await reader.readexactly(int(length))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)

    async def reach(protocol: Callable[[], asyncio.Protocol]) -> None:
        address = server.sockets[0].getsockname()
        await asyncio.get_running_loop().create_connection(protocol, *address)

    async with server:
        yield Site(reach, has_page=True)


async def test_who_uploads_to_a_page_longest_gives_way_to_another_visitor() -> None:
    async with (
        pages() as site,
        serving(most_connections=8, site_for=lambda _: site, read_within=30) as rig,
    ):
        slow = [await rig.connect(post(b"12")[:-1]) for _ in range(3)]
        await until(lambda: rig.listener.passing == 2)
        visitor = await rig.connect(post(b""))
        assert await visitor.status() == 200
        assert [await sender.rest() for sender in slow[:2]] == [b"", b""]
        slow[2].send(b"2")
        assert await slow[2].status() == 200


async def test_it_ends_when_the_last_answer_is_sent() -> None:
    async with serving(held := Held()) as rig:
        resting, busy = await rig.connect(), await rig.connect(post(b"1"))
        await until(lambda: held.begun)
        rig.listener.stop()
        assert await resting.rest() == b""
        with pytest.raises(ConnectionError):
            await rig.connect()
        held.let_go()
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")


async def test_it_ends_without_those_that_take_too_long() -> None:
    async with serving(patience=0.1) as rig:
        stalled = await rig.connect(post(b"abc")[:-1])
        listener = rig.listener
    assert listener.connections == 0
    assert await stalled.rest() == b""


async def test_the_largest_body_can_be_another() -> None:
    async with serving(max_body=3) as rig:
        sender = await rig.connect(post(b"abc") + post(b"abcd"))
        assert [await sender.status(), await sender.status()] == [200, 413]


async def test_bodies_are_held_up_to_a_limit_together() -> None:
    async with serving(held := Held(), max_body=5, most_held=10) as rig:
        first, second = await rig.connect(post(b"12345")), await rig.connect(post(b"1234"))
        await until(lambda: rig.listener.room.held == 9)
        third = await rig.connect(post(b"12345"))
        held.let_go()
        assert await first.status() == await second.status() == 200
        assert await third.status() == 503
        assert rig.listener.room.held == 0
        fourth = await rig.connect(post(b"12345"))
        assert await fourth.status() == 200


async def test_where_bodies_take_all_room_the_one_that_takes_longest_gives_way() -> None:
    async with serving(max_body=5, most_held=10, read_within=30) as rig:
        slow, younger = [await rig.connect(post(b"12345")[:-1]) for _ in range(2)]
        await until(lambda: rig.listener.room.held == 8)
        assert await (await rig.connect(post(b"123"))).status() == 200
        assert await slow.status() == 503
        younger.send(b"5")
        assert await younger.status() == 200
        assert rig.listener.room.held == 0


async def test_a_body_that_has_taken_longest_itself_gives_way() -> None:
    async with serving(max_body=6, most_held=12, read_within=30) as rig:
        slow, younger = [await rig.connect(post(b"123456")[:-1]) for _ in range(2)]
        await until(lambda: rig.listener.room.held == 10)
        third = await rig.connect(post(b"123")[:-1])
        await until(lambda: rig.listener.room.held == 12)
        slow.send(b"6")
        assert await slow.status() == 503
        younger.send(b"6")
        third.send(b"3")
        assert await younger.status() == await third.status() == 200
        assert rig.listener.room.held == 0


@pytest.mark.parametrize(
    "request_of", [lambda: post(b"12345")[:-1], lambda: post(b"1") + post(b"12345")]
)
async def test_what_a_sender_that_left_had_sent_is_held_no_more(
    request_of: Callable[[], bytes],
) -> None:
    async with serving(held := Held()) as rig:
        sender = await rig.connect(request_of())
        room = rig.listener.room
        await until(lambda: room.held + room.ahead >= 4)
        sender.close()
        held.let_go()
        await until(lambda: not rig.listener.connections)
        assert room.held == room.ahead == 0


async def deaf(rig: Rig, data: bytes) -> socket.socket:
    """Send something on a connection on which nothing is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, rig.address)
    await loop.sock_sendall(sock, data)
    return sock


class Big:
    """Answers with more than the system holds for a connection."""

    def __init__(self) -> None:
        self.answered = 0

    async def __call__(self, request: Request) -> Answer:
        await body_of(request)
        self.answered += 1
        return Answer(200, b"x" * 8_000_000)


async def test_a_sender_that_reads_no_answer_gets_no_more_of_them() -> None:
    big = Big()
    async with serving(big, read_within=0.3) as rig:
        with await deaf(rig, post(b"1") * 50):
            await until(lambda: big.answered)
            await until(lambda: not rig.listener.connections)
        assert big.answered == 1


async def test_a_sender_that_reads_late_gets_all_answers() -> None:
    big = Big()
    async with serving(big, read_within=30) as rig:
        with await deaf(rig, post(b"1") * 2 + post(b"1", "connection: close")) as sock:
            await until(lambda: big.answered)
            await polled()
            assert big.answered == 1
            loop, size = asyncio.get_running_loop(), 0
            async with asyncio.timeout(10):
                while data := await loop.sock_recv(sock, 1_000_000):
                    size += len(data)
        assert 24_000_000 < size < 24_002_000


async def test_a_last_answer_that_is_not_read_is_given_up() -> None:
    big = Big()
    async with serving(big, read_within=0.3) as rig:
        with await deaf(rig, post(b"1", "connection: close")):
            await until(lambda: big.answered)
            await until(lambda: not rig.listener.connections)
