"""The socket between a worker and the gateway that started it, as the worker holds it.

Before handlers are called, the main thread waits for what comes; from then on an event loop does.
When the gateway is gone the worker goes too.
"""

import asyncio
import logging
import os
import select
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, NoReturn, TextIO

from hfhooks.redact import redact
from hfhooks.worker.frames import (
    ALIVE,
    LOAD,
    PING,
    READ,
    SECRET,
    STOP,
    Frame,
    Malformed,
    Outbox,
    Parser,
    of_message,
)

__all__ = ["Control", "end_by"]

MOST_SOCKETS = 32
"""Sockets that come at once."""
log = logging.getLogger(__name__)


def end_by(error: BaseException) -> NoReturn:
    """End this process, which cannot do its work: another one takes its place."""
    log.critical("a fault in the worker, which ends:", exc_info=error)
    os._exit(1)


class Control:
    """Takes over the socket of this number, which no child of ours is to have."""

    def __init__(self, number: int) -> None:
        self._sock = socket.socket(fileno=number)
        self._sock.set_inheritable(False)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._sock.close)
        self._frames: deque[Frame] = deque()
        self._parser = Parser()
        self._outbox = Outbox()
        self._sending = Lock()
        self._is_flush_due = False
        """An event loop is about to send what waits."""
        self._reading = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take: Callable[[Frame, Callable[[], socket.socket]], None] = lambda *_: None
        self._sockets: deque[int] = deque()
        self._leave_standard_streams()
        Thread(target=self._follow_the_gateway, daemon=True, name="hfhooks-parent").start()

    @property
    def is_load_waiting(self) -> bool:
        """The gateway has said already that there is something to load, or nothing to do."""
        self._sock.setblocking(False)
        self._read()
        self._sock.setblocking(True)
        return any(frame.kind in (LOAD, STOP) for frame in self._frames)

    def receive(self) -> Frame:
        """Return what the gateway says next, waiting for it."""
        while not self._frames:
            self._read()
        return self._frames.popleft()

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[Frame, Callable[[], socket.socket]], None],
    ) -> None:
        """Read what the gateway says on this loop from now on, on its thread, not on another.

        `take` gets each frame, and what returns the socket that came with it.
        """
        self._loop, self._take = loop, take
        self._sock.setblocking(False)
        loop.add_reader(self._sock, self._hear, loop)
        self._hear(loop)

    def send(self, frame: Frame, more_comes: bool = False) -> None:
        """Tell the gateway something, in whatever thread.

        Where `more_comes` in this turn of the event loop, all of it goes out together.
        """
        self._outbox.put(frame)
        loop = asyncio._get_running_loop() if more_comes else None
        if loop is None:
            self.flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits to be sent, in whatever thread."""
        with self._sending:
            self._is_flush_due = False
            with suppress(OSError):  # it is gone, and so shall we be
                while data := self._outbox.take(READ):
                    self._send_all(memoryview(data))

    def _send_all(self, data: memoryview) -> None:
        """Send all of it, waiting for room: an event loop has made the socket non-blocking."""
        while data:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._sock, select.POLLOUT)
                room.poll()

    def report(self, kind: int, **content: Any) -> None:
        """Tell the gateway this."""
        self.send(of_message(kind, content))

    def tell_secret(self, secret: str) -> None:
        """Have the gateway mask this in what it shows and records of all that is sent from now on.

        It goes out with that: a handler may be in the middle of anything.
        """
        self._outbox.put(of_message(SECRET, {"secret": secret}))

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:  # it was blocked, and another one hears meanwhile
            loop.remove_reader(self._sock)
            return
        if self._reading.acquire(blocking=False):
            try:
                self._read()
                while self._frames:
                    self._take(self._frames.popleft(), self._socket)
            except Exception as error:  # noqa: BLE001 # what has come, and all after it, is lost
                end_by(error)
            finally:
                self._reading.release()

    def _socket(self) -> socket.socket:
        """Return the socket that came with a frame."""
        return socket.socket(fileno=self._sockets.popleft())

    def _read(self) -> None:
        try:  # without flags: Python's recv_fds does not pass them on
            data, sockets, _, _ = socket.recv_fds(self._sock, READ, MOST_SOCKETS)
        except BlockingIOError:
            return
        except OSError:
            data, sockets = b"", []
        if not data:
            os._exit(1)
        self._sockets.extend(sockets)
        try:
            for frame in self._parser.feed(data):
                if frame.kind == PING:
                    self.send(Frame(ALIVE))
                else:
                    self._frames.append(frame)
        except Malformed as error:
            end_by(error)

    def _follow_the_gateway(self) -> None:
        try:
            poll = select.poll()
            poll.register(self._sock, 0)  # which tells nothing but its end
            poll.poll()
        except Exception as error:  # noqa: BLE001 # nobody would end us when the gateway is gone
            end_by(error)
        os._exit(1)

    @staticmethod
    def _leave_standard_streams() -> None:
        """Print line by line, without secrets, and as long as somebody takes it."""
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a real stream here
        for stream in (sys.stdout, sys.stderr):
            _lose_what_is_not_taken(stream)
            redact.guard(stream)


def _lose_what_is_not_taken(stream: TextIO) -> None:
    """Have no handler fail because a log's disk is full or its reader has gone."""
    write, flush = stream.write, stream.flush

    def try_to_write(text: str) -> int:
        with suppress(OSError):
            write(text)
        return len(text)

    def try_to_flush() -> None:
        with suppress(OSError):
            flush()

    stream.write = try_to_write  # type: ignore[method-assign] # print() and logging call it
    stream.flush = try_to_flush  # type: ignore[method-assign]
