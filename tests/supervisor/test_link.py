"""A link, and a worker's end of its socket that a test reads and writes when it wants to."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from hfhooks.supervisor.link import SIZE, Link
from hfhooks.worker.frames import ANSWER, ATTEMPT, LOAD, PAGE, PING, READY, Frame, Outbox, Parser
from tests.harness import polled, until


class Ends:
    """Both ends."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        self.heard: list[Frame] = []
        self.gone = 0
        self.sockets: list[int] = []
        """What was handed over, as numbers of files."""
        self._parser = Parser()
        self.link = Link(ours, self.heard.append, self._has_gone)

    def _has_gone(self) -> None:
        self.gone += 1

    async def say(self, *frames: Frame) -> None:
        """Let the worker say something."""
        await asyncio.get_running_loop().sock_sendall(self.theirs, encoded(*frames))

    async def arrived(self, number: int = 1) -> list[Frame]:
        """Return what the worker hears, when it is so many frames."""
        frames: list[Frame] = []

        def read() -> bool:
            try:
                data, sockets, _, _ = socket.recv_fds(self.theirs, SIZE, 9)
            except BlockingIOError:
                return False
            self.sockets += sockets
            frames.extend(self._parser.feed(data))
            return len(frames) >= number

        await until(read)
        return frames

    def close(self) -> None:
        self.link.close()
        self.theirs.close()
        for each in self.sockets:
            os.close(each)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def encoded(*frames: Frame) -> bytes:
    outbox = Outbox()
    for frame in frames:
        outbox.put(frame)
    return outbox.take(100_000_000)


LARGE = Frame(ATTEMPT, 1, bytes(5_000_000))


async def test_what_is_sent_in_one_turn_comes_together_and_control_first(ends: Ends) -> None:
    for frame in (Frame(ATTEMPT, 1, b"{}"), Frame(ATTEMPT, 2), Frame(PING)):
        ends.link.send(frame)
    with pytest.raises(BlockingIOError):
        ends.theirs.recv(1)
    assert await ends.arrived(3) == [Frame(PING), Frame(ATTEMPT, 1, b"{}"), Frame(ATTEMPT, 2)]


async def test_what_there_is_no_room_for_goes_when_there_is(ends: Ends) -> None:
    ends.link.send(LARGE)
    await polled()
    ends.link.send(Frame(ATTEMPT, 2, b"small"))
    ends.link.send(Frame(LOAD, 0, b"control"))
    arrived = await ends.arrived(3)
    assert arrived[0] == Frame(LOAD, 0, b"control")
    assert sorted(arrived[1:]) == [LARGE, Frame(ATTEMPT, 2, b"small")]


async def test_frames_are_heard_in_order_however_they_come(ends: Ends) -> None:
    frames = [Frame(READY, 0, b"{}"), Frame(ANSWER, 1, b"x" * 1000), Frame(ANSWER, 2)]
    for byte in encoded(*frames):
        ends.theirs.send(bytes([byte]))
        ends.link.read()
    assert ends.heard == frames


async def test_more_than_is_read_at_once_is_heard_at_once(ends: Ends) -> None:
    large = Frame(ANSWER, 1, bytes(3 * SIZE))
    await ends.say(large, Frame(ANSWER, 2))
    await until(lambda: len(ends.heard) == 2)
    assert sorted(ends.heard) == [large, Frame(ANSWER, 2)]


async def test_the_last_words_of_a_worker_are_heard_before_it_is_gone(ends: Ends) -> None:
    await ends.say(Frame(ANSWER, 1))
    ends.theirs.close()
    await until(lambda: ends.gone)
    await polled()
    assert (ends.heard, ends.gone) == ([Frame(ANSWER, 1)], 1)


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 200 OK\r\n", bytes(9), b"\xff" * 9])
async def test_who_says_what_is_no_frame_is_gone(ends: Ends, nonsense: bytes) -> None:
    ends.theirs.send(nonsense)
    await until(lambda: ends.gone)
    assert (ends.heard, ends.gone) == ([], 1)


async def test_what_is_sent_to_who_is_gone_is_lost_without_a_word(ends: Ends) -> None:
    ends.theirs.close()
    ends.link.send(LARGE)
    await until(lambda: ends.gone)
    ends.link.send(Frame(PING))
    await polled()
    assert ends.gone == 1


async def test_who_is_gone_in_the_midst_of_a_frame_is_gone(ends: Ends) -> None:
    ends.link.send(LARGE)
    await polled()
    ends.theirs.close()
    await until(lambda: ends.gone)


async def test_a_link_that_is_closed_sends_nothing(ends: Ends) -> None:
    ends.link.send(Frame(PING))
    ends.link.close()
    ends.link.close()
    await polled()
    assert ends.theirs.recv(1) == b""


async def test_a_link_that_is_closed_hears_nothing(ends: Ends) -> None:
    await ends.say(Frame(ANSWER, 1))
    ends.link.close()
    await polled()
    assert (ends.heard, ends.gone) == ([], 0)


async def test_sockets_are_handed_over_in_order_each_with_a_frame(ends: Ends) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    ends.link.send(LARGE)
    for _, theirs in pairs:
        ends.link.hand_over(theirs)
    assert [frame.kind for frame in await ends.arrived(4)] == [PAGE, PAGE, PAGE, ATTEMPT]
    for number, (ours, _) in zip(ends.sockets, pairs, strict=True):
        with ours, socket.socket(fileno=os.dup(number)) as arrived:
            arrived.send(b"here")
            assert ours.recv(9) == b"here"
    assert [theirs.fileno() for _, theirs in pairs] == [-1, -1, -1]


async def test_sockets_that_are_not_handed_over_are_closed_with_the_link(ends: Ends) -> None:
    ours, theirs = socket.socketpair()
    ends.link.hand_over(theirs)
    ends.link.close()
    with ours:
        ours.setblocking(False)
        assert ours.recv(1) == b""
