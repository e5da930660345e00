"""The public side: a bound socket, and the connections that come in there.

uvicorn has no deadlines, limits no heads, and takes more time for a delivery than all else that is
done before it is acknowledged.
"""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from math import inf

from hfhooks.errors import StartError, UsageError
from hfhooks.http.connection import Connection
from hfhooks.http.limits import MAX_BODY, MOST_CONNECTIONS, MOST_HELD, READ_WITHIN, Room, busy
from hfhooks.http.messages import Answer, Request
from hfhooks.http.passage import Passed, Site
from hfhooks.tasks import Tasks

__all__ = ["Listener", "awaiting", "bind"]

LOOK_EVERY = 0.25
"""Seconds between two looks at the connections' deadlines."""


class Listener:
    """Hands requests that come in at a bound socket to `respond`, which answers them in time.

    Those that `site_for` finds a site for are passed on to it. `patience` is how many seconds after
    `stop` the last answers may take; `tasks` owns what answers.
    """

    def __init__(
        self,
        respond: Callable[[Request], None],
        sock: socket.socket,
        tasks: Tasks,
        *,
        patience: float = inf,
        max_body: int = MAX_BODY,
        most_held: int = MOST_HELD,
        read_within: float = READ_WITHIN,
        most_connections: int = MOST_CONNECTIONS,
        site_for: Callable[[Request], Site | None] = lambda _: None,
    ) -> None:
        self.respond = respond
        self.tasks = tasks
        self.site_for = site_for
        self.passing = 0
        """How many requests are being passed on."""
        self.most_passing = most_connections // 4
        self.read_within = read_within
        self.room = Room(max_body, most_held)
        self.room.make_more = self._give_up_body
        self._sock = sock
        self._patience = patience
        self._most_connections = most_connections
        self._connections: set[Connection] = set()
        self._peers: Counter[bytes | None] = Counter()
        """How many connections there are from each."""
        self._most_of_one = max(1, most_connections // 2)
        self._is_accepting = False
        self._stopped = asyncio.Event()
        self._emptied = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    @property
    def is_stopping(self) -> bool:
        return self._stopped.is_set()

    async def listen(self) -> None:
        """Serve until told to stop."""
        if self.is_stopping:  # before it has begun, or begun again
            return
        loop = asyncio.get_running_loop()
        sock = self._sock.dup()  # a server closes it, and after a fault there may be another one
        server = await loop.create_server(lambda: Connection(self), sock=sock, backlog=2048)
        self._is_accepting = True
        try:
            await self._look_at_deadlines(until=self._stopped)
        finally:
            server.close()
            self._is_accepting = False
        self._sock.close()
        for connection in list(self._connections):
            connection.leave()
        if self._connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._patience, 1e6)):
                    await self._look_at_deadlines(until=self._emptied)
        self.close()

    def stop(self) -> None:
        """Accept nothing more, finish what is being answered, and end."""
        self._stopped.set()
        if not self._is_accepting:  # after a fault: who connects must not wait for nobody
            self._sock.close()

    def close(self) -> None:
        """End the connections that are left, as after a fault."""
        for connection in list(self._connections):
            connection.abort()

    def admit(self, connection: Connection) -> bool:
        """Tell whether there is room for a connection, if need be by closing another one."""
        if self.is_stopping or not (self._has_share(connection.peer) and self._has_room()):
            return False
        self._connections.add(connection)
        self._peers[connection.peer] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """Count a connection no more."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._peers[connection.peer] -= 1
            if not self._peers[connection.peer]:
                del self._peers[connection.peer]
        if self.is_stopping and not self._connections:
            self._emptied.set()

    def make_way(self) -> bool:
        """End a request that is passed on and has been arriving, or not been taken, longest."""
        return self._close_one(c for c in self._connections if isinstance(c.turns.current, Passed))

    def _has_room(self) -> bool:
        is_full = len(self._connections) >= self._most_connections
        return not is_full or self._close_one(self._connections)

    def _has_share(self, peer: bytes | None) -> bool:
        """Tell whether another machine may have one more, if need be for another one of its own."""
        if peer is None or self._peers[peer] < self._most_of_one:
            return True
        return self._close_one(each for each in self._connections if each.peer == peer)

    def _close_one(self, connections: Iterable[Connection]) -> bool:
        """Close one that rests, or else the one that has been arriving longest; False if all of
        them are being answered.
        """
        idle = [each for each in connections if not each.turns.is_answering]
        if not idle:
            return False
        one = min(idle, key=_turn_to_be_closed)
        self.forget(one)
        one.abort()
        return True

    def _give_up_body(self) -> bool:
        """Refuse the body that has been arriving longest; False where there is none."""
        arriving = [each for each in self._connections if each.arrivals.holds_part]
        if arriving:
            min(arriving, key=lambda each: each.began_at).refuse(busy())
        return bool(arriving)

    async def _look_at_deadlines(self, until: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        pause = min(LOOK_EVERY, self.read_within / 10)
        while not until.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), pause)
            now = loop.time()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.expire()


def _turn_to_be_closed(connection: Connection) -> tuple[bool, float]:
    is_resting = connection.is_resting
    return not is_resting, connection.deadline if is_resting else connection.began_at


def awaiting(
    respond: Callable[[Request], Awaitable[Answer]], tasks: Tasks
) -> Callable[[Request], None]:
    """Return what answers as a coroutine function does, each request in a task of its own."""

    async def answer(request: Request) -> None:
        try:
            request.answer(await respond(request))
        except Exception as error:  # noqa: BLE001 # of this request alone
            request.fail(error)

    def begin(request: Request) -> None:
        tasks.one("a connection", answer(request))

    return begin


def bind(host: str, port: int) -> socket.socket:
    """Return a socket at this address; port 0 takes a free one.

    Raises `UsageError` for an address that is none of this machine's, `StartError` for a port
    that cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"--host {host}: no such address.") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {host}: not an address of this machine.") from error
        if error.errno == errno.EADDRINUSE:
            help = "Stop the program that has it, or choose another: --port 0 takes a free one."
            raise StartError(f"port {port} is in use.", help) from error
        raise StartError(f"port {port} cannot be used: {error.strerror}.") from error
