"""A worker as the gateway holds it; the process is one that says and does what a test wants.

What real processes do: `test_supervisor.py`.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, cast

import pytest

from hfhooks.errors import LoadError
from hfhooks.http.passage import SiteGone
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import CRASHED, CUT_OFF, INTERRUPTED, Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.redact import redact
from hfhooks.script.target import Target
from hfhooks.supervisor.child import Worker, WorkerDied
from hfhooks.worker.frames import (
    ALIVE,
    ATTEMPT,
    BLOCKED,
    FAILED,
    LATE,
    LOAD,
    PAGE,
    PING,
    PRELOAD,
    PRELOADED,
    READY,
    SECRET,
    SERVED,
    STOP,
    Frame,
    Outbox,
    Parser,
    message_from,
    of_ending,
    of_message,
)
from tests.harness import until

TARGETS = [Target("app", ("/bots",), "/bots/app.py")]
DELIVERY = Recorded("train", 0.0, "", (), b"{}")
GOOD = Ending("answered", 200, body=b"1")
PENDING = Ending("answered", 200, body=b"1", pending_after=True)
LOADED: dict[str, Any] = {"files": ["/bots/app.py"], "has_site": False, "has_page": False}
LOADED |= {"endpoints": [Endpoint("train").as_json()]}


class FakeProcess:
    """A process: it hears what it is told, and ends when it is killed, or by itself."""

    pid = 17

    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        self.heard: list[Frame] = []
        self.policy = "usual"
        self.signals: list[str] = []
        self.may_leave = False
        self.left_with: int | None = None
        self._codes: SimpleQueue[int | Exception] = SimpleQueue()
        self._parser = Parser()

    def say(self, *frames: Frame) -> None:
        outbox = Outbox()
        for frame in frames:
            outbox.put(frame)
            self.theirs.sendall(outbox.take(100_000))

    def end(self, code: int | Exception) -> None:
        self._codes.put(code)

    async def hears(self, *kinds: int) -> list[Frame]:
        """Return what it has been told, when that is frames of these kinds."""

        def read() -> bool:
            with suppress(BlockingIOError):
                self.heard += self._parser.feed(self.theirs.recv(100_000))
            return [frame.kind for frame in self.heard] == list(kinds)

        await until(read)
        return self.heard

    def wait(self) -> int:
        code = self._codes.get()
        if isinstance(code, Exception):
            raise code
        return code

    def note(self) -> None:
        self.is_noted = True

    def let_go(self, code: int) -> None:
        self.left_with = code

    def terminate(self) -> None:
        self.signals.append("TERM")

    def kill(self) -> None:
        self.signals.append("KILL")
        self.end(-9)

    def step_back(self) -> None:
        self.policy = "batch"

    def step_forward(self) -> None:
        self.policy = "usual"

    def close(self) -> None:
        self.sock.close()
        self.kill()


class Child:
    """A worker, and what it tells of itself."""

    def __init__(self) -> None:
        self.process = FakeProcess()
        self.late: list[tuple[int, int, str | None, str]] = []
        self.notes: list[str] = []
        self.faults: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(context["exception"]))
        process = cast("Any", self.process)
        self.worker = Worker(process, lambda *late: self.late.append(late), self.notes.append)

    def ask(self, id: int = 1) -> "asyncio.Future[Ending]":
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.worker.attempt(Claim(id, DELIVERY, 1, ""), None, ended.set_result)
        return ended

    async def load(self, report: Frame) -> list[Endpoint]:
        loading = asyncio.ensure_future(self.worker.load(TARGETS))
        await self.process.hears(LOAD)
        self.process.say(report)
        return await loading


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    child = Child()
    yield child
    child.process.theirs.close()
    child.worker.kill()
    await child.worker.ended()


async def test_it_loads_what_it_is_told_and_says_what_there_is(child: Child) -> None:
    assert await child.load(of_message(READY, LOADED)) == [Endpoint("train")]
    told = message_from(child.process.heard[0])
    assert (Target.from_json(told["targets"][0]), told["verbose"]) == (TARGETS[0], False)
    assert child.worker.files == ["/bots/app.py"] and child.worker.site is None


async def test_why_it_cannot_load_is_said_as_it_says_it(child: Child) -> None:
    report = {"message": "app.py:2: no", "help": "Do.", "file": "app.py", "line": 2}
    report |= {"traceback": ["a", "b"], "exit_code": 4, "files": ["app.py", "words.py"]}
    with pytest.raises(LoadError) as caught:
        await child.load(of_message(FAILED, report))
    error = caught.value
    assert (str(error), error.help, error.exit_code) == ("app.py:2: no", "Do.", 4)
    assert (error.file, error.line) == ("app.py", 2)
    assert (error.traceback, child.worker.files) == (["a", "b"], ["app.py", "words.py"])


@pytest.mark.parametrize(
    ("code", "words"), [(3, "exited with code 3"), (-11, "was ended by signal 11 (SIGSEGV)")]
)
async def test_how_it_ends_while_it_loads_is_said(child: Child, code: int, words: str) -> None:
    loading = asyncio.ensure_future(child.worker.load(TARGETS))
    await child.process.hears(LOAD)
    child.process.end(code)
    with pytest.raises(WorkerDied, match=re.escape(f"the worker {words} while the script")):
        await loading
    assert child.worker.is_gone and await child.worker.ended() == words


async def test_it_warms_up_behind_others_until_it_is_needed(child: Child) -> None:
    child.worker.warm_up(TARGETS)
    await child.process.hears(PRELOAD)
    assert (child.process.policy, child.worker.is_warm.is_set()) == ("batch", False)
    child.process.say(Frame(PRELOADED))
    await child.worker.is_warm.wait()
    child.process.heard.clear()
    await child.load(of_message(READY, LOADED))
    assert child.process.policy == "usual"


async def test_each_answer_finds_its_call_and_what_nobody_asked_is_none(child: Child) -> None:
    endings = [child.ask(id) for id in (1, 2)]
    first, second = await child.process.hears(ATTEMPT, ATTEMPT)
    answers = [of_ending(99, GOOD), of_ending(second.number, GOOD)] * 2
    child.process.say(*answers, of_ending(first.number, Ending("discarded")))
    assert [(await ending).kind for ending in endings] == ["discarded", "answered"]


async def test_what_runs_when_it_dies_has_crashed_and_its_last_words_count(child: Child) -> None:
    endings = [child.ask(id) for id in (1, 2)]
    first, _ = await child.process.hears(ATTEMPT, ATTEMPT)
    child.process.say(of_ending(first.number, GOOD))
    child.process.end(1)
    assert [await ending for ending in endings] == [
        GOOD,
        Ending("crashed", body=b"The worker exited with code 1 while this handler ran."),
    ]


async def test_what_is_asked_of_a_dead_one_has_crashed_and_not_before_the_call_returns(
    child: Child,
) -> None:
    child.process.end(0)
    await child.worker.ended()
    ending = child.ask()
    assert not ending.done()
    assert (await ending).kind == "interrupted"


async def test_it_is_alive_once_it_has_answered(child: Child) -> None:
    child.worker.ping()
    assert not child.worker.is_alive
    await child.process.hears(PING)
    child.process.say(Frame(ALIVE))
    await until(lambda: child.worker.is_alive)


async def test_what_it_says_of_the_script_is_passed_on(child: Child) -> None:
    child.process.say(of_message(BLOCKED, {"why": "a blocks"}))
    child.process.say(of_message(LATE, {"id": 1, "attempt": 2, "error": "Traceback"}))
    await until(lambda: child.late)
    assert (child.notes, child.late) == (["a blocks"], [(1, 2, "Traceback", "raised")])
    assert not child.worker.worn_out.is_set()


async def test_one_that_is_worn_out_says_so(child: Child) -> None:
    child.process.say(of_message(BLOCKED, {"why": "no more loops", "is_worn_out": True}))
    await until(child.worker.worn_out.is_set)
    assert child.notes == ["no more loops"]


async def test_what_it_has_left_to_be_done_is_told_when_it_is_done(child: Child) -> None:
    ended = child.ask(id=7)
    child.process.say(of_ending(1, PENDING))
    assert (await ended).pending_after
    child.process.say(of_message(LATE, {"id": 7, "attempt": 1, "error": None}))
    await until(lambda: child.late)
    child.process.say(of_message(LATE, {"id": 7, "attempt": 1, "error": None}))
    child.process.end(1)
    await child.worker.ended()
    await until(lambda: not child.faults)
    assert child.late == [(7, 1, None, "raised")]


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_what_it_has_left_and_cannot_do_is_told_with_the_reason(
    child: Child, is_stopped: bool
) -> None:
    for id in (7, 8):
        ended = child.ask(id=id)
        child.process.say(of_ending(id - 6, PENDING))
        await ended
    if is_stopped:
        await child.worker.stop(0)
    else:
        child.process.end(-9)
    await until(lambda: child.late)
    why = CUT_OFF[INTERRUPTED if is_stopped else CRASHED]
    assert child.late == [(7, 1, why, "interrupted"), (8, 1, why, "interrupted")]


async def test_a_secret_that_it_tells_is_masked_here(child: Child) -> None:
    child.process.say(of_message(SECRET, {"secret": "a canary of the worker"}))
    await until(lambda: redact("a canary of the worker") == "***")


@pytest.mark.parametrize(
    "frame",
    [
        Frame(LATE, 0, b"no JSON"),
        of_message(LATE, {"id": 1}),
        of_message(BLOCKED, {}),
        of_message(SECRET, {}),
    ],
)
async def test_one_that_says_what_makes_no_sense_is_ended(child: Child, frame: Frame) -> None:
    child.process.say(frame)
    assert await child.worker.ended() == "was ended by signal 9 (SIGKILL)"


async def test_one_that_hears_and_says_no_more_is_ended(child: Child) -> None:
    child.process.theirs.close()
    assert await child.worker.ended() == "was ended by signal 9 (SIGKILL)"


async def test_the_fault_of_who_is_told_is_reported_and_others_are_told(child: Child) -> None:
    def fail(_: Ending) -> None:
        raise ValueError("of ours")

    child.worker.attempt(Claim(1, DELIVERY, 1, ""), None, fail)
    ending = child.ask(2)
    frames = await child.process.hears(ATTEMPT, ATTEMPT)
    child.process.say(*[of_ending(frame.number, GOOD) for frame in frames])
    assert await ending == GOOD
    assert [str(fault) for fault in child.faults] == ["of ours"]


async def test_of_a_process_that_cannot_be_waited_for_that_is_said_and_it_is_ended(
    child: Child,
) -> None:
    child.process.end(OSError("no such child"))
    assert await child.worker.ended() == "was ended by signal 9 (SIGKILL)"
    assert [str(fault) for fault in child.faults] == ["no such child"]


async def test_a_stop_gives_what_runs_its_time(child: Child) -> None:
    ending = child.ask()
    stopping = asyncio.ensure_future(child.worker.stop(grace=30))
    [attempt, _] = await child.process.hears(ATTEMPT, STOP)
    child.process.say(of_ending(attempt.number, GOOD), Frame(SERVED))
    assert await ending == GOOD
    child.process.end(0)
    await stopping


async def test_one_that_leaves_as_it_was_told_to_is_not_killed_where_its_end_is_late(
    child: Child,
) -> None:
    stopping = asyncio.ensure_future(child.worker.stop(grace=30))
    await child.process.hears(STOP)
    child.process.say(Frame(SERVED))
    child.process.theirs.close()
    await until(lambda: child.process.sock.fileno() < 0)
    assert child.process.signals == []
    child.process.end(0)
    await stopping


async def test_what_takes_longer_is_interrupted(child: Child) -> None:
    ending = child.ask()
    stopping = asyncio.ensure_future(child.worker.stop(grace=0.01))
    assert (await ending).kind == "interrupted"
    child.process.end(0)
    await stopping


async def test_a_page_is_reached_by_a_socket_of_its_own(child: Child) -> None:
    await child.load(of_message(READY, LOADED | {"has_site": True, "has_page": True}))
    site = child.worker.site
    assert site and site.has_page and site.reach
    child.process.heard.clear()
    await site.reach(asyncio.Protocol)
    await child.process.hears(PAGE)


async def test_a_page_of_a_dead_one_is_gone(child: Child) -> None:
    await child.load(of_message(READY, LOADED | {"has_site": True}))
    child.process.end(0)
    await child.worker.ended()
    assert child.worker.site and child.worker.site.reach
    with pytest.raises(SiteGone, match="the worker has ended"):
        await child.worker.site.reach(asyncio.Protocol)
