"""What becomes of a public URL: found, lost, found again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hfhooks.errors import CredentialsError, Fault, TunnelError
from hfhooks.tasks import Tasks
from hfhooks.tunnels.keeper import Keeper
from hfhooks.tunnels.tunnel import Gone, Moved, Tell
from tests.harness import until

URL, OTHER = "https://a.test", "https://b.test"


class FakeTunnel:
    """A tunnel that does what the test says."""

    name = "fake"
    probe_every = 3600.0
    must_answer = True

    def __init__(self) -> None:
        self.urls: list[str | Exception] = [URL]
        """What the next openings come to; the last of them again and again."""
        self.opened = self.closed = 0
        self.fails_to_close = False
        self.tell: Tell | None = None

    @asynccontextmanager
    async def open(self, local_url: str, tell: Tell) -> AsyncIterator[str]:
        self.opened += 1
        url = self.urls.pop(0) if len(self.urls) > 1 else self.urls[0]
        if isinstance(url, Exception):
            raise url
        self.tell = tell
        try:
            yield url
        finally:
            self.closed += 1
            if self.fails_to_close:
                raise OSError("it would not end")


class World:
    """Which URLs lead here, and what was said about it."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.tasks = Tasks(self.faults.append, self.faults.append)
        self.tunnel = FakeTunnel()
        self.leads_here = {URL}
        self.said: list[str] = []
        self.probes = 0
        self.keeper = Keeper(
            self.tunnel,
            "http://127.0.0.1:1",
            "/probe",
            self.tasks,
            up=lambda url: self.said.append(f"up {url}"),
            down=lambda url, why: self.said.append(f"down {url} {why}"),
            progress=lambda progress: self.said.append(progress.text),
            answers_within=0.2,
            recovers_within=0.2,
            first_pause=0.001,
            probe=self._probe,
        )

    def _probe(self, url: str) -> str | None:
        self.probes += 1
        return None if url.removesuffix("/probe") in self.leads_here else "closed"

    @property
    def tell(self) -> Tell:
        assert self.tunnel.tell
        return self.tunnel.tell


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.keeper.stop()
    await world.tasks.close()


DOWN = f"{URL} does not lead here: closed."


async def test_it_is_up_when_something_comes_through(world: World) -> None:
    await world.keeper.start(must_open=True)
    assert (world.keeper.url, world.keeper.is_up, world.said) == (URL, True, [f"up {URL}"])
    assert (world.tunnel.opened, world.probes) == (1, 1)


async def test_a_name_may_take_a_while(world: World) -> None:
    world.leads_here.clear()
    starting = asyncio.create_task(world.keeper.start(must_open=True))
    await until(lambda: world.probes == 3)
    assert not world.said
    world.leads_here.add(URL)
    await starting
    assert (world.said, world.tunnel.opened) == ([f"up {URL}"], 1)


async def test_one_that_must_open_and_cannot_raises(world: World) -> None:
    world.tunnel.urls = [TunnelError("no network")]
    with pytest.raises(TunnelError, match="no network"):
        await world.keeper.start(must_open=True)
    assert world.said == []


async def test_one_that_leads_nowhere_raises_too(world: World) -> None:
    world.leads_here.clear()
    with pytest.raises(TunnelError, match="does not lead here: closed"):
        await world.keeper.start(must_open=True)
    assert world.tunnel.closed == 1


async def test_one_that_may_open_is_tried_again(world: World) -> None:
    world.tunnel.urls = [TunnelError("no network"), TunnelError("no network"), URL]
    await world.keeper.start(must_open=False)
    assert (world.keeper.url, world.said) == (None, ["down None no network"])
    await until(lambda: world.keeper.is_up)
    assert world.said == ["down None no network", f"up {URL}"]


async def test_what_nobody_has_foreseen_keeps_nobody_waiting(world: World) -> None:
    world.tunnel.urls = [OSError(28, "No space left on device"), KeyError("x"), URL]
    with pytest.raises(TunnelError, match="No space left on device"):
        await world.keeper.start(must_open=True)
    await world.keeper.start(must_open=False)
    await until(lambda: world.keeper.is_up)


async def test_with_wrong_credentials_trying_is_no_use(world: World) -> None:
    world.tunnel.urls = [CredentialsError("bad token")]
    with pytest.raises(CredentialsError):
        await world.keeper.start(must_open=False)
    assert world.tunnel.opened == 1


async def test_a_loss_is_said_once_and_so_is_the_return(world: World) -> None:
    await world.keeper.start(must_open=True)
    world.leads_here.clear()
    world.tell(Moved(URL))
    await until(lambda: world.probes > 4)
    assert world.said == [f"up {URL}", f"down {URL} {DOWN}"]
    assert (world.keeper.url, world.keeper.is_up) == (URL, False)
    world.leads_here.add(URL)
    await until(lambda: world.keeper.is_up)
    assert world.said[2:] == [f"up {URL}"]
    assert world.tunnel.opened == 1


async def test_one_failure_is_no_loss(world: World) -> None:
    await world.keeper.start(must_open=True)
    answers = [None, "closed"]
    world.keeper._probe = lambda _: answers.pop() if answers else None
    world.tell(Moved(URL))
    await until(lambda: not answers)
    assert world.said == [f"up {URL}"]


async def test_another_url_is_looked_at_and_said(world: World) -> None:
    await world.keeper.start(must_open=True)
    world.leads_here = {OTHER}
    world.tell(Moved(OTHER))
    await until(lambda: world.keeper.url == OTHER)
    assert world.said == [f"up {URL}", f"up {OTHER}"]


async def test_one_that_has_ended_is_opened_again(world: World) -> None:
    world.tunnel.urls = [URL, TunnelError("no network"), OTHER]
    world.leads_here = {URL, OTHER}
    await world.keeper.start(must_open=True)
    world.tell(Gone("it was killed."))
    await until(lambda: world.keeper.url == OTHER)
    assert world.said == [f"up {URL}", f"down {URL} it was killed.", f"up {OTHER}"]
    assert (world.tunnel.opened, world.tunnel.closed) == (3, 1)


async def test_one_that_stays_down_is_opened_again(world: World) -> None:
    await world.keeper.start(must_open=True)
    world.leads_here.clear()
    world.tell(Moved(URL))
    await until(lambda: world.tunnel.opened > 1)
    assert world.said == [f"up {URL}", f"down {URL} {DOWN}"]


async def test_a_loss_is_noticed_without_a_hint(world: World) -> None:
    world.tunnel.probe_every = 0.002
    await world.keeper.start(must_open=True)
    world.leads_here.clear()
    await until(lambda: not world.keeper.is_up)


async def test_a_given_url_is_never_in_vain(world: World) -> None:
    world.tunnel.must_answer = False
    world.leads_here.clear()
    await world.keeper.start(must_open=True)
    assert (world.keeper.url, world.keeper.is_up) == (URL, False)
    assert world.said == [f"down {URL} {DOWN}"]
    world.leads_here.add(URL)
    await until(lambda: world.keeper.is_up)


async def test_pauses_grow_up_to_a_limit(world: World) -> None:
    pauses = [world.keeper._pause(failures) for failures in range(1, 60)]
    assert 0.0008 <= pauses[0] <= 0.0012
    assert pauses[10] > 100 * pauses[0]
    assert max(pauses) <= 1.2 * 60


async def test_stopping_closes_it_at_any_time(world: World) -> None:
    world.leads_here.clear()
    starting = asyncio.create_task(world.keeper.start(must_open=True))
    await until(lambda: world.probes)
    await world.keeper.stop()
    await world.tasks.close()
    assert world.tunnel.closed == 1
    starting.cancel()


async def test_stopping_stops_even_where_closing_fails(world: World) -> None:
    await world.keeper.start(must_open=True)
    world.tunnel.fails_to_close = True
    async with asyncio.timeout(10):
        await world.keeper.stop()
    await world.tasks.close()
    assert (world.tunnel.opened, world.tunnel.closed) == (1, 1)


async def test_stopping_stops_even_where_it_is_not_heard_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfhooks.tunnels.keeper.AGAIN_AFTER", 0.01)
    await world.keeper.start(must_open=True)
    told_within, calls = world.keeper._told_within, 0

    async def deaf_once(seconds: float) -> str | None:
        nonlocal calls
        calls += 1
        try:
            return await told_within(seconds)
        except asyncio.CancelledError:
            if calls > 1:
                raise
            return None

    monkeypatch.setattr(world.keeper, "_told_within", deaf_once)
    world.tell(Moved(URL))
    await until(lambda: calls)
    async with asyncio.timeout(10):
        await world.keeper.stop()
    await world.tasks.close()
    assert world.tunnel.closed == 1


@pytest.mark.parametrize("url", ["https://a\x1b]0;b.test", "https://a.test\nhttps://b.test", "x"])
async def test_what_is_no_url_is_said_to_nobody_as_one(url: str) -> None:
    world = World()
    world.tunnel.urls = [url]
    with pytest.raises(TunnelError, match=r"what it says for a URL: a URL such as"):
        await world.keeper.start(must_open=True)
    assert world.probes == 0


async def test_nor_is_what_it_moves_to() -> None:
    world = World()
    await world.keeper.start(must_open=True)
    assert world.tunnel.tell
    world.tunnel.tell(Moved("https://a\u202e.test"))
    await until(lambda: world.tunnel.opened == 2)
    await world.keeper.stop()
    assert not [text for text in world.said if "\u202e" in text]
