import errno
import os
import re
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from hfhooks.console import queued
from hfhooks.console.queued import QueuedStream
from tests.faults.inventory import proves
from tests.harness import wait_until

LINES = [f"line {number:06}\n" for number in range(20_000)]


class Pipe:
    """A pipe that is read when a test says so."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream: TextIO = os.fdopen(writer, "w", encoding="utf-8")
        self.read = b""
        self.queued: list[QueuedStream] = []

    def queue(self, data: str = "", notes: QueuedStream | None = None) -> QueuedStream:
        """Return what writes to it."""
        self.queued.append(QueuedStream(self.stream, data, notes))
        return self.queued[-1]

    def close(self) -> None:
        os.close(self.reader)  # which ends whatever waits for a reader
        for each in self.queued:
            each.finish()
        self.stream.close()

    def shows(self, text: str) -> Callable[[], bool]:
        """Read some more; tell whether that text has come."""

        def look() -> bool:
            self.read += os.read(self.reader, 65536)
            return text.encode() in self.read

        return look

    @property
    def text(self) -> str:
        return self.read.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def other_pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def say(stream: QueuedStream) -> None:
    for line in LINES:
        stream.write(line)


def test_what_is_read_is_all_that_was_written(pipe: Pipe) -> None:
    stream = pipe.queue()
    stream.write("one\n")
    wait_until(pipe.shows("one\n"))
    stream.write("two\n")
    stream.write("thr\udce9e\n")
    stream.finish()
    wait_until(pipe.shows("e\n"))
    assert pipe.text == "one\ntwo\nthr\\udce9e\n"


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="where a write need not wait")
def test_what_a_pipe_has_room_for_is_there_at_once(pipe: Pipe) -> None:
    stream = pipe.queue()
    os.set_blocking(pipe.reader, False)
    for line in LINES[:100]:
        stream.write(line)
        assert os.read(pipe.reader, 100).decode() == line


def test_of_what_nobody_reads_the_first_and_the_newest_are_kept_and_the_rest_is_counted(
    pipe: Pipe,
) -> None:
    stream = pipe.queue()
    say(stream)
    wait_until(pipe.shows(LINES[-1]))
    at = notes = 0
    for line in pipe.text.splitlines(keepends=True):
        if found := re.fullmatch(r"… (\d+) lines not shown\n", line):
            at, notes = at + int(found[1]), notes + 1
        else:
            assert line == LINES[at]
            at += 1
    assert at == len(LINES)
    assert notes > 0


def test_what_waits_is_bounded(pipe: Pipe) -> None:
    stream = pipe.queue()
    say(stream)
    wait_until(pipe.shows(LINES[-1]))
    assert len(pipe.read) < 3 * queued.ROOM + queued.ATOMIC


def test_data_has_nothing_else_between_it(
    pipe: Pipe, other_pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "DATA_ROOM", 4096)
    notes = other_pipe.queue()
    stream = pipe.queue("stdout", notes)
    say(stream)
    wait_until(pipe.shows(LINES[-1]))
    shown = pipe.text.splitlines(keepends=True)
    assert {*shown} <= {*LINES}
    notes.write("that is all\n")
    wait_until(other_pipe.shows("that is all\n"))
    lost = re.findall(r"… (\d+) lines of stdout not shown\n", other_pipe.text)
    assert sum(map(int, lost)) == len(LINES) - len(shown) > 0


def test_it_ends_where_nobody_reads(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "LAST", 0.1)
    stream = pipe.queue()
    say(stream)
    stream.finish()


def test_a_reader_that_has_gone_is_no_fault() -> None:
    pipe = Pipe()
    os.close(pipe.reader)
    stream = pipe.queue()
    say(stream)
    stream.finish()
    os.write(pipe.stream.fileno(), b"more")
    pipe.stream.close()


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    stream = pipe.queue()
    say(stream)
    wait_until(pipe.shows(LINES[-1]))
    assert "… " in pipe.text


@proves("hfhooks-output")
def test_a_fault_costs_what_was_just_written(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)  # all is left to the thread
    stream = pipe.queue()

    def broken(number: int, piece: bytes) -> int:
        monkeypatch.undo()
        raise ArithmeticError

    monkeypatch.setattr(os, "write", broken)
    stream.write("lost\n")
    wait_until(lambda: os.write is not broken)
    stream.write("kept\n")
    wait_until(pipe.shows("kept\n"))
    assert pipe.text in ("kept\n… 1 lines not shown\n", "kept\n")


def test_what_a_full_disk_has_not_taken_is_counted(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    stream = pipe.queue()
    refused: list[bytes] = []

    def full(number: int, piece: bytes) -> int:
        refused.append(piece)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    stream.write("one\n")
    wait_until(lambda: len(refused) == 1)
    stream.write("two\nthree\n")
    wait_until(lambda: len(refused) == 2)
    monkeypatch.undo()
    stream.write("kept\n")
    wait_until(pipe.shows("… 3 lines not shown\n"))
    assert pipe.text == "kept\n… 3 lines not shown\n"
