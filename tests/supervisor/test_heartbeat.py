import asyncio
from typing import Any

from hfhooks.supervisor.heartbeat import MOST_SILENCE, how_it_ends


class Asked:
    """A worker that answers, as it was told, whether it is alive."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.pings = self.kills = 0
        self.is_alive = True
        self.worn_out = asyncio.Event()
        self._how = "exited with code 0"
        self._ended = asyncio.Event()

    def ping(self) -> None:
        self.pings += 1
        self.is_alive = self.answers.pop(0) if self.answers else True
        if self.pings == 20:
            self._ended.set()

    def kill(self, why: str) -> None:
        self.kills += 1
        self._how = why
        self._ended.set()

    async def ended(self) -> str:
        await self._ended.wait()
        return self._how


async def test_a_worker_that_stands_still_for_a_moment_is_left_alone() -> None:
    worker: Any = Asked(True, False, False, False, True, False, False)
    assert await how_it_ends(worker, 0.001) == "exited with code 0"
    assert worker.kills == 0


async def test_one_that_is_silent_for_long_is_ended() -> None:
    worker: Any = Asked(True, *[False] * MOST_SILENCE)
    assert await how_it_ends(worker, 0.001) == "did not answer for 0.006 s"
    assert worker.kills == 1


async def test_one_that_is_worn_out_is_said_once_and_watched_on() -> None:
    worker: Any = Asked()
    worker.worn_out.set()
    told: list[int] = []
    assert await how_it_ends(worker, 0.001, lambda: told.append(1)) == "exited with code 0"
    assert told == [1]
