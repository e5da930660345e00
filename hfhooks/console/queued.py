"""Output that waits for its reader in a bounded queue, and keeps nobody else waiting."""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable
from select import select
from threading import Condition, Thread
from typing import Any, Self, TextIO

from hfhooks.console.terminal import throw_away

__all__ = ["QueuedStream"]

ROOM = 64 * 1024
"""Characters that may wait, half of them the first and half the newest; a pipe holds as many."""
DATA_ROOM = 1024 * 1024
"""Characters of data that may wait; few programs go on reading at all times."""
LAST = 2.0
"""Seconds that a reader gets in the end."""
MAY_PASS = {errno.ENOSPC, errno.EDQUOT}
"""A full disk, whose owner may make room."""
ATOMIC = 4096
"""Bytes that reach a pipe in one piece, whoever else writes to it: PIPE_BUF of Linux."""


class QueuedStream:
    """Takes text at once, and writes it to a stream in a thread of its own.

    What a pipe has room for is written without the thread, which would cost more than that.

    Where nobody reads, the first of what waits and the newest are kept. What is lost between them
    is counted, and said there; of a stream of `data`, whose readers expect nothing else, on
    another stream. So it is with what a full disk does not take.
    """

    def __init__(self, stream: TextIO, data: str = "", notes: Self | None = None) -> None:
        self._stream, self._half = stream, (DATA_ROOM if data else ROOM) // 2
        self._what, self._notes = f"lines of {data}" if data else "lines", notes
        self._first: list[str] = []
        self._newest: deque[str] = deque()
        self._first_size = self._newest_size = 0
        self._lost = 0
        """Lines that were to stand between these."""
        self._said = 0
        """How many lines the count stands for that is being written."""
        self._is_closing = False
        self._is_writing = False
        """The thread has something to write."""
        self._never_waits = _is_pipe(stream)
        """A write can be told not to wait for the reader."""
        self._changed = Condition()  # whose lock a thread that has it may take again
        self._thread = Thread(target=self._work, name="hfhooks-output", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Have a text written, before long and after the others."""
        if text:
            with self._changed:
                if not self._is_written(text):
                    self._put(text)
                    self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Leave it to the thread."""

    def finish(self) -> None:
        """Write what waits, if somebody reads it soon, and nothing more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(LAST)

    def _is_written(self, text: str) -> bool:
        """Write a text if nothing waits, and this need not; tell whether it is written."""
        waits = self._first or self._lost or self._is_writing
        if waits or self._is_closing or not self._never_waits:
            return False
        piece = self._encoded(text)
        if len(piece) > ATOMIC:
            return False
        try:
            os.pwritev(self._stream.fileno(), [piece], -1, os.RWF_NOWAIT)
        except BlockingIOError:  # it is full
            return False
        except (OSError, ValueError):  # an old Linux, or nobody reads: the thread will see
            self._never_waits = False
            return False
        return True

    def _put(self, text: str) -> None:
        if not self._newest and self._first_size < self._half:
            self._first.append(text)
            self._first_size += len(text)
            return
        self._newest.append(text)
        self._newest_size += len(text)
        while self._newest_size > self._half and len(self._newest) > 1:
            oldest = self._newest.popleft()
            self._newest_size -= len(oldest)
            self._lost += _lines_of([oldest])

    def _work(self) -> None:
        while texts := self._taken():
            try:
                self._write(texts)
            except OSError as error:
                if error.errno in MAY_PASS and not self._is_closing:
                    self._lose(texts)
                else:  # nobody will ever read it
                    throw_away(self._stream)
            except Exception:  # noqa: BLE001 # of these, and others follow
                self._lose(texts)

    def _lose(self, texts: Iterable[str]) -> None:
        """Count what has not been written, with what the count among it stood for."""
        with self._changed:
            self._lost += _lines_of(texts) + max(0, self._said - 1)

    def _write(self, texts: Iterable[str]) -> None:
        """Write texts, as many together as nobody else's come between."""
        piece = b""
        for text in texts:
            encoded = self._encoded(text)
            if piece and len(piece) + len(encoded) > ATOMIC:
                self._write_all(piece)
                piece = b""
            piece += encoded
        self._write_all(piece)

    def _write_all(self, piece: bytes) -> None:
        number = self._stream.fileno()
        while piece:
            try:
                piece = piece[os.write(number, piece) :]
            except BlockingIOError:  # somebody who has it too does not want to wait
                select([], [number], [])

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._stream.encoding, "backslashreplace")

    def _taken(self) -> list[str]:
        """Wait for what is to be written, and take it; nothing at the end."""
        with self._changed:
            self._is_writing = False
            while not (self._first or self._is_closing):
                self._changed.wait()
            lost = [f"… {self._lost} {self._what} not shown\n"] if self._lost else []
            before, newest = self._first, self._newest
            self._first, self._newest = [], deque()
            self._said = 0 if self._notes else self._lost
            self._first_size = self._newest_size = self._lost = 0
            self._is_writing = True
        if self._notes:
            self._notes.write("".join(lost))
            return [*before, *newest]
        return [*before, *lost, *newest]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_pipe(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe, on a system where a write can be told not to wait."""
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it is no file
        return False
    return is_pipe and hasattr(os, "RWF_NOWAIT")


def _lines_of(texts: Iterable[str]) -> int:
    return sum(text.count("\n") for text in texts)
