"""The socket to a worker, as the gateway holds it: frames out and in, on the event loop."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from hfhooks.http.passage import SiteGone
from hfhooks.worker.frames import PAGE, READ, Frame, Malformed, Outbox, Parser

__all__ = ["Link"]

SIZE = 256 * 1024
"""Bytes that are written at once."""


class Link:
    """Sends frames, together what is sent in one turn of the loop; `heard` gets those that come.

    `gone` is called when nothing comes any more, or something that is no frame.
    """

    def __init__(
        self, sock: socket.socket, heard: Callable[[Frame], None], gone: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._heard, self._gone = heard, gone
        self._parser, self._outbox = Parser(), Outbox()
        self._unsent = memoryview(b"")
        self._sockets: deque[socket.socket] = deque()
        """What is to be handed over, each with a frame of its own."""
        self._is_waiting = False
        """What is sent has to wait: for the end of this turn, or for room."""
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self.read)

    def send(self, frame: Frame) -> None:
        """Send a frame with the others of this turn; one that cannot be sent is lost."""
        self._outbox.put(frame)
        self._flush_later()

    def hand_over(self, sock: socket.socket) -> None:
        """Give the worker a socket."""
        self._sockets.append(sock)
        self._flush_later()

    async def reach(
        self, is_gone: Callable[[], bool], protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """Open a connection to what the worker serves beside endpoints. Raises `SiteGone`."""
        if is_gone():
            raise SiteGone("the worker has ended")
        try:
            ours, theirs = socket.socketpair()
            self.hand_over(theirs)
            await self._loop.create_unix_connection(protocol, sock=ours)
        except OSError as error:
            raise SiteGone(str(error)) from error

    def read(self) -> None:
        """Hear what has come."""
        while True:
            try:
                data = self._sock.recv(READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            try:
                frames = self._parser.feed(data)
            except Malformed:
                data, frames = b"", []
            except Exception as error:  # noqa: BLE001 # what follows would make no sense
                self._say(error)
                data, frames = b"", []
            for frame in frames:
                self._heard(frame)
            if not data:
                self.close()
                self._gone()
            if len(data) < READ:
                return

    def close(self) -> None:
        """Hear and send nothing more."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
        while self._sockets:
            self._sockets.popleft().close()

    def _flush_later(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what there is, as far as there is room for it."""
        self._is_waiting = False
        if self._sock.fileno() < 0:
            return
        try:
            while self._send_some():
                pass
        except OSError:  # it is gone, which is told when that is read
            pass
        except Exception as error:  # noqa: BLE001 # as above, for whoever reads it
            self._say(error)
            self._gone()

    def _say(self, error: Exception) -> None:
        context = {"message": "the frames of a worker", "exception": error}
        self._loop.call_exception_handler(context)

    def _send_some(self) -> bool:
        """Send something; tell whether there may be room for more."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
            elif self._sockets:
                frame = Outbox()
                frame.put(Frame(PAGE))
                socket.send_fds(self._sock, [frame.take(SIZE)], [self._sockets[0].fileno()])
                self._sockets.popleft().close()
            elif self._outbox:
                self._unsent = memoryview(self._outbox.take(SIZE))
            else:
                self._loop.remove_writer(self._sock)
                return False
        except BlockingIOError:
            self._is_waiting = True
            self._loop.add_writer(self._sock, self._flush)
            return False
        return True
