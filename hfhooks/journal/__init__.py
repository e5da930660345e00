"""What is recorded, and the door to it: all that gateways, hosts, commands and pages know of it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote, unquote

from hfhooks.errors import JournalError, UsageError
from hfhooks.journal.backlog import Backlog
from hfhooks.model.condition import Condition
from hfhooks.model.delivery import Attempt, Claim, Recorded, Stored, Summary, Verdict, Wanted
from hfhooks.model.endpoint import Published

__all__ = [
    "Journal",
    "Reading",
    "engine_version",
    "open_journal",
    "open_reading",
    "path_of",
    "url_of",
]

Counts: TypeAlias = Mapping[tuple[str, str], int]
"""How many deliveries there are, by endpoint and status."""


class Reading(Protocol):
    """A journal that is only read; nothing here keeps an event loop waiting.

    Raises `JournalError` where it cannot be read.
    """

    async def get(self, id: int) -> Recorded | None:
        """Return one delivery."""

    async def attempts(self, id: int) -> Sequence[Attempt]:
        """Return the attempts at a delivery that have ended, the first one first."""

    async def list(self, wanted: Wanted) -> Sequence[Summary]:
        """Return the deliveries that are wanted, the newest first."""

    async def counts(self) -> Counts:
        """Return how many deliveries there are, by endpoint and status."""

    def follow(self, after: int) -> AsyncIterator[Summary]:
        """Yield the deliveries with a later id, then every change of any, at least once.

        What changes twice meanwhile may be told once, as it is then.
        """

    async def endpoints(self) -> Sequence[Published]:
        """Return the endpoints that were served last, in any version, or are served now."""

    async def check(self) -> None:
        """Look for damage. Raises `JournalError` if there is some."""

    async def close(self) -> None:
        """Finish what was begun, and let go of it."""


class Bench(Protocol):
    """The part of a journal that a host works at: deliveries are taken, and what came of them kept.

    Claims hold as long as the host is heard of: by `claim` or `extend`, within its lease.
    """

    @property
    def given_up(self) -> Sequence[int]:
        """Deliveries that have ended the last host too often, so that they have failed."""

    async def has_suspect(self, room: Mapping[str, int]) -> bool:
        """Tell whether a delivery is due, and has room, that is to run in quarantine."""

    async def claim(self, room: Mapping[str, int], in_quarantine: bool = False) -> Sequence[Claim]:
        """Take deliveries that are due, at most so many of each endpoint, by due time and arrival.

        In quarantine that is one that ran when a process died (`Recorded.is_suspect`), else none of
        these. Claims of hosts that were not heard of for their lease are void, and their deliveries
        due again.
        """

    async def extend(self) -> None:
        """Say that this host is alive: its claims hold for another lease."""

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give back what was not begun, as if it had not been taken."""

    def finish(
        self,
        claim: Claim,
        attempt: Attempt,
        verdict: Verdict,
        done: Callable[[bool | JournalError], None],
    ) -> None:
        """Keep how an attempt ended and what that makes of the delivery, in one commit.

        Calls back as `record` does: with False, and nothing is kept, if the claim does not hold any
        more.
        """

    async def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        """Keep that what an attempt left to be done after its answer is done.

        With an error it has failed, and so the delivery has, and `status` is the attempt's.
        """

    def stopping(self) -> None:
        """Note that no delivery has ended this host, however it ends from here on.

        May be called in a signal's handler.
        """


class Journal(Reading, Bench, Protocol):
    """A journal that one host works with, and others at the same time where the engine says so."""

    @property
    def condition(self) -> Condition:
        """Whether something can be recorded now."""

    def when_due(self, tell: Callable[[], None]) -> None:
        """Have this called on the loop's thread when something may have become due."""

    def when_changed(self, tell: Callable[[Condition], None]) -> None:
        """Have this called on the loop's thread when its condition is another one."""

    @property
    def backlog(self) -> Backlog:
        """What is not finished, and whose deliveries are refused where that is too much."""

    def record(
        self, delivery: Recorded, done: Callable[[Stored | JournalError], None], take: bool = False
    ) -> None:
        """Record a delivery, and call back once it is on disk.

        If the Hub has sent it before, to that endpoint, and the earlier one is not failed, ignored
        or cancelled, it is a `duplicate` of that one, also on disk. With `take` it is claimed in
        the same commit. `done` is called once, on the loop's thread, in order of commit, and not
        before this returns. An outcome that is not known is an error. Where the backlog has a
        refusal, that is the outcome.
        """

    async def requeue(self, wanted: Wanted) -> Sequence[int]:
        """Make deliveries due now that have failed or wait for an attempt; return their ids.

        Not those that the Hub has sent again since.
        """

    async def cancel(self, wanted: Wanted) -> Sequence[int]:
        """End deliveries that are not finished; return their ids. What runs finishes in vain."""

    async def publish(self, endpoints: Sequence[Published]) -> None:
        """Keep what this host serves, instead of what it served before."""

    async def prune(self, before: float) -> int:
        """Delete what is finished and was received before; count it."""

    async def flush(self) -> None:
        """Return when all that was asked for before is on disk."""


SQLITE = "sqlite://"


def open_journal(url: str, **options: Any) -> Journal:
    """Open a journal for this host, on the running event loop.

    `url` is `sqlite:///path/to/journal.db`, which is made as needed, or `memory:`. The options are
    those of the engine: `owner`, which names this host to others, and limits. Raises `JournalError`
    when it cannot be used, `UsageError` for a URL of something else.
    """
    if url == "memory:":
        from hfhooks.journal.memory import MemoryJournal

        return MemoryJournal(**options)
    from hfhooks.journal.sqlite.journal import SqliteJournal

    return SqliteJournal(path_of(url), **options)


def open_reading(url: str) -> Reading:
    """Open a journal that is only read, beside the host that works with it or without one.

    Raises `JournalError` where there is none.
    """
    from hfhooks.journal.sqlite.reading import FileReading

    return FileReading(path_of(url))


def engine_version() -> str:
    """Return what the default engine is, and in which version."""
    from hfhooks.journal.sqlite.files import VERSION

    return f"SQLite {VERSION}"


def path_of(url: str) -> Path:
    """Return the file that a URL means. Raises `UsageError` where it means something else."""
    path = url.removeprefix(SQLITE)
    file = Path(unquote(f"/{path.lstrip('/')}"))
    is_file = file.name and not path.endswith("/") and "\0" not in str(file)
    if path == url or not path.startswith("/") or "?" in path or not is_file:
        raise UsageError(f"{url!r} is no journal: write sqlite:///path/to/journal.db.")
    return file


def url_of(path: Path) -> str:
    """Return the URL of a journal in this file."""
    return SQLITE + quote(str(path.absolute()))
