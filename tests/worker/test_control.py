"""The worker's end of the socket, in programs of a few lines: it ends the process it is in.

What it does in a whole worker: `test_process.py`.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hfhooks.worker.frames import (
    ALIVE,
    ANSWER,
    LOAD,
    PING,
    PRELOAD,
    SERVED,
    STOP,
    Frame,
    Outbox,
    Parser,
    message_from,
)

HEAD = """
import asyncio, sys, threading
from hfhooks.worker.control import Control
from hfhooks.worker.frames import *

control = Control(int(sys.argv[1]))
"""


class Gateway:
    """The other end, and the program that has this one."""

    def __init__(self) -> None:
        self._sock, self.theirs = socket.socketpair()
        self._sock.settimeout(30)
        self._parser = Parser()
        self._frames: list[Frame] = []
        self.process: subprocess.Popen[bytes]

    def start(self, program: str) -> None:
        number = str(self.theirs.fileno())
        command = [sys.executable, "-c", HEAD + program, number]
        with self.theirs:
            self.process = subprocess.Popen(command, pass_fds=[int(number)])

    def say(self, *kinds: int) -> None:
        outbox = Outbox()
        for kind in kinds:
            outbox.put(Frame(kind))
        self._sock.sendall(outbox.take(1000))

    def hears(self) -> Frame:
        """Return what the program says next."""
        while not self._frames:
            data = self._sock.recv(65536)
            assert data, "it says nothing more"
            self._frames = self._parser.feed(data)
        return self._frames.pop(0)

    def has_more(self, frames: list[Frame]) -> bool:
        """Tell whether these have come with the last one that was heard."""
        return self._frames == frames

    def reads(self) -> dict[str, Any]:
        """Return what the program reports next."""
        return message_from(self.hears())

    def close(self) -> None:
        self._sock.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.mark.parametrize(
    ("said", "is_waiting"),
    [((), False), ((PRELOAD,), False), ((LOAD,), True), ((PRELOAD, STOP), True), ((PING,), False)],
)
def test_it_knows_what_is_waiting_and_keeps_it(
    gateway: Gateway, said: tuple[int, ...], is_waiting: bool
) -> None:
    gateway.say(*said)
    gateway.start(
        "control.report(READY, waits=control.is_load_waiting)\n"
        "while True: control.report(READY, said=control.receive().kind)\n"
    )
    heard = gateway.hears()
    if PING in said:
        assert heard == Frame(ALIVE)
        heard = gateway.hears()
    assert message_from(heard) == {"waits": is_waiting}
    kept = [kind for kind in said if kind != PING]
    assert [gateway.reads()["said"] for _ in kept] == kept


HEARD = """
def heard(name, also=lambda frame: None):
    def take(frame, sock):
        is_own = asyncio.get_running_loop() is loops[name]
        control.report(READY, by=name, said=frame.kind, is_own=is_own)
        also(frame)
    return take
loops = {}
"""
ATTACHED = f"""{HEARD}
async def main():
    loops["first"] = asyncio.get_running_loop()
    control.is_load_waiting
    control.attach(loops["first"], heard("first"))
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_a_loop_hears_what_has_come_and_what_comes(gateway: Gateway) -> None:
    gateway.say(PRELOAD, LOAD)
    gateway.start(ATTACHED)
    heard = [gateway.reads() for _ in range(2)]
    gateway.say(STOP)
    heard.append(gateway.reads())
    assert [each["said"] for each in heard] == [PRELOAD, LOAD, STOP]
    assert all(each["is_own"] for each in heard)


TAKEN_OVER = f"""{HEARD}
go_on = threading.Event()
loops["second"] = asyncio.new_event_loop()

def take_over():
    control.attach(loops["second"], heard("second", lambda frame: go_on.set()))
    control.send(Frame(SERVED))

async def main():
    loops["first"] = asyncio.get_running_loop()
    control.attach(loops["first"], heard("first"))
    threading.Thread(target=loops["second"].run_forever, daemon=True).start()
    loops["second"].call_soon_threadsafe(take_over)
    go_on.wait()  # the first loop is blocked until the second one has heard something
    control.attach(loops["first"], heard("first"))
    control.send(Frame(SERVED))
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_another_loop_hears_while_one_is_blocked_and_gives_it_back(gateway: Gateway) -> None:
    gateway.start(TAKEN_OVER)
    heard = []
    for kind in (LOAD, STOP):
        assert gateway.hears() == Frame(SERVED)
        gateway.say(kind)
        heard.append(gateway.reads())
    assert [(each["by"], each["said"]) for each in heard] == [("second", LOAD), ("first", STOP)]
    assert all(each["is_own"] for each in heard)


THREADS = """
async def main():
    control.attach(asyncio.get_running_loop(), lambda *_: None)
    def say(number):
        for turn in range(10):
            control.send(Frame(ANSWER, 10 * number + turn, bytes([number]) * 100_000))
    threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    control.send(Frame(SERVED))
asyncio.run(main())
"""


def test_frames_of_many_threads_come_whole_though_there_is_no_room_for_them(
    gateway: Gateway,
) -> None:
    gateway.start(THREADS)
    heard = [gateway.hears() for _ in range(41)]
    assert heard.pop() == Frame(SERVED)
    assert sorted(heard) == [
        Frame(ANSWER, number, bytes([number // 10]) * 100_000) for number in range(40)
    ]


TOGETHER = """
async def main():
    control.attach(asyncio.get_running_loop(), lambda *_: None)
    for number in range(3):
        control.send(Frame(ANSWER, number), more_comes=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_what_is_said_in_one_turn_comes_together(gateway: Gateway) -> None:
    gateway.start(TOGETHER)
    assert gateway.hears() == Frame(ANSWER, 0)
    assert gateway.has_more([Frame(ANSWER, 1), Frame(ANSWER, 2)])
