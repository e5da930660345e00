"""What is recorded, in memory, and what happens to it: no loop, no other journal's cares."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import islice
from math import inf

from hfhooks.journal.backlog import Backlog, Limits
from hfhooks.model.delivery import (
    SETTLED,
    SUSPICIOUS,
    UNFINISHED,
    Attempt,
    Claim,
    Recorded,
    Stored,
    Summary,
    Verdict,
    Wanted,
)
from hfhooks.model.endpoint import Published

__all__ = ["Row", "Store"]


@dataclass
class Row:
    """What is known of a delivery."""

    id: int
    delivery: Recorded
    status: str
    due_at: float
    is_pause_asked: bool = False
    attempt_count: int = 0
    started_at: float = 0.0
    owner: str | None = None
    sent_status: int | None = None
    pending_after: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    def count(self, status: str) -> int:
        return sum(attempt.status == status for attempt in self.attempts)

    def is_due(self, now: float) -> bool:
        return self.status == "queued" or (self.status == "retrying" and self.due_at <= now)

    @property
    def is_suspect(self) -> bool:
        return any(attempt.status in SUSPICIOUS for attempt in self.attempts)

    def is_held_by(self, claim: Claim) -> bool:
        is_theirs = (self.owner, self.attempt_count) == (claim.owner, claim.number)
        return self.status == "running" and is_theirs

    def take(self, owner: str, now: float) -> Claim:
        """Let a host have it."""
        self.status, self.owner, self.attempt_count = "running", owner, self.attempt_count + 1
        self.started_at = now
        return Claim(self.id, self.recorded, self.attempt_count, owner)

    @property
    def recorded(self) -> Recorded:
        return replace(
            self.delivery,
            id=self.id,
            status=self.status,
            attempt_count=self.attempt_count,
            raised=self.count("raised") + self.count("timed_out"),
            crashed=self.count("crashed"),
            is_suspect=self.is_suspect,
        )

    @property
    def summary(self) -> Summary:
        delivery, last = self.delivery, self.attempts[-1] if self.attempts else None
        return Summary(
            id=self.id,
            received_at=delivery.received_at,
            endpoint=delivery.endpoint,
            event=delivery.event,
            repo=delivery.repo,
            status=self.status,
            origin=delivery.origin,
            attempt_count=self.attempt_count,
            webhook_id=delivery.webhook_id,
            sent_status=self.sent_status,
            due_at=self.due_at if self.status == "retrying" else None,
            duration=last.duration if last else None,
            http_status=last.http_status if last else None,
            pending_after=self.pending_after,
        )


@dataclass
class Store:
    """What several hosts have in common; `followers` are told which rows have changed."""

    rows: dict[int, Row] = field(default_factory=dict)
    newest: int = 0
    leases: dict[str, float] = field(default_factory=dict)
    """Until when each host is taken for alive."""
    published: dict[str, Sequence[Published]] = field(default_factory=dict)
    followers: list[Callable[[Sequence[Row]], None]] = field(default_factory=list)

    def changed(self, rows: Iterable[Row]) -> None:
        changed = list(rows)
        for tell in self.followers:
            tell(changed)

    def backlog(self, limits: Limits) -> Backlog:
        """Return what is not finished."""
        backlog = Backlog(limits)
        if self.published:
            published = [each for some in self.published.values() for each in some]
            backlog.serve(each.endpoint.name for each in published)
        for row in self.rows.values():
            if row.status in UNFINISHED:
                backlog.add(row.id, row.delivery.endpoint, len(row.delivery.body))
        return backlog

    def record(self, delivery: Recorded, taken_by: str | None, now: float) -> Stored:
        if earlier := self._earlier(delivery):
            return Stored(earlier.id, "duplicate")
        self.newest = id = self.newest + 1
        kept = replace(delivery, headers=delivery.kept_headers, query=delivery.kept_query)
        row = self.rows[id] = Row(id, kept, delivery.status, delivery.received_at)
        claim = None
        if taken_by is not None and row.status == "queued":
            claim = replace(row.take(taken_by, now), delivery=delivery)
        self.changed([row])
        return Stored(id, row.status, claim)

    def due(
        self, room: Mapping[str, int], now: float, *, in_quarantine: bool = False
    ) -> Iterator[Row]:
        """Yield what is due and has room, in order: suspects in quarantine, all others else."""
        left = dict(room)
        for row in sorted(self.rows.values(), key=lambda row: (row.due_at, row.id)):
            is_next = row.is_due(now) and row.is_suspect == in_quarantine
            if is_next and left.get(row.delivery.endpoint, 0) > 0:
                left[row.delivery.endpoint] -= 1
                yield row

    def claim(
        self, room: Mapping[str, int], owner: str, now: float, *, in_quarantine: bool = False
    ) -> list[Claim]:
        due = self.due(room, now, in_quarantine=in_quarantine)
        claims = [row.take(owner, now) for row in islice(due, 1 if in_quarantine else None)]
        self.changed(self.rows[claim.id] for claim in claims)
        return claims

    def next_at(self, now: float) -> float:
        """Return when the next one is due that is not yet, `inf` where there is none."""
        later = [row.due_at for row in self.rows.values() if row.status == "retrying"]
        return min((at for at in later if at > now), default=inf)

    def take_back(self, now: float) -> None:
        """Make void the claims of hosts that were not heard of."""
        running = [row for row in self.rows.values() if row.status == "running" and row.owner]
        lost = [row for row in running if self.leases.get(row.owner or "", 0.0) < now]
        for row in lost:
            row.attempts.append(Attempt(row.attempt_count, row.started_at, 0.0, "lost"))
            row.status, row.owner, row.due_at = "queued", None, row.delivery.received_at
        self.changed(lost)

    def release(self, claims: Sequence[Claim]) -> None:
        pairs = [(self.rows.get(claim.id), claim) for claim in claims]
        released = [row for row, claim in pairs if row and row.is_held_by(claim)]
        for row in released:
            row.status, row.owner, row.attempt_count = "queued", None, row.attempt_count - 1
            row.due_at = row.delivery.received_at
        self.changed(released)

    def finish(self, claim: Claim, attempt: Attempt, verdict: Verdict, now: float) -> bool:
        row = self.rows.get(claim.id)
        if row is None or not row.is_held_by(claim):
            return False
        row.attempts.append(attempt.cut())
        row.status, row.owner, row.is_pause_asked = verdict.status, None, verdict.is_pause_asked
        row.pending_after = verdict.pending_after
        pause = verdict.retry_after
        row.due_at = row.delivery.received_at if pause is None else now + pause
        if row.sent_status is None:
            row.sent_status = verdict.sent_status
        self.changed([row])
        return True

    def amend(self, id: int, number: int, error: str | None, status: str) -> None:
        if (row := self.rows.get(id)) is None:
            return
        if error is not None:
            row.attempts = [
                replace(each, status=status, error=error) if each.number == number else each
                for each in row.attempts
            ]
        if row.status == "succeeded" and row.attempt_count == number:
            row.pending_after = False
            row.status = "succeeded" if error is None else "failed"
        self.changed([row])

    def requeue(self, wanted: Wanted) -> list[int]:
        done = []
        for row in self.wanted(wanted):
            is_alone = row.status == "retrying" or not self._earlier(row.delivery)
            if row.status in ("failed", "retrying") and is_alone:
                row.status, row.due_at, row.is_pause_asked = "queued", 0.0, False
                done.append(row)
        self.changed(done)
        return [row.id for row in done]

    def cancel(self, wanted: Wanted) -> list[int]:
        done = [row for row in self.wanted(wanted) if row.status in UNFINISHED]
        for row in done:
            row.status, row.owner = "cancelled", None
        self.changed(done)
        return [row.id for row in done]

    def prune(self, before: float) -> int:
        finished = [row for row in self.rows.values() if row.status not in UNFINISHED]
        done = [row for row in finished if not row.pending_after]
        old = [row.id for row in done if row.delivery.received_at < before]
        for id in old:
            del self.rows[id]
        return len(old)

    def wanted(self, wanted: Wanted) -> list[Row]:
        """Return the rows that are wanted, in order of arrival."""
        return [row for row in self.rows.values() if _is_wanted(row, wanted)]

    def _earlier(self, delivery: Recorded) -> Row | None:
        same = (delivery.endpoint, delivery.webhook_id)
        for row in self.rows.values() if delivery.is_once else ():
            of_row = (row.delivery.endpoint, row.delivery.webhook_id)
            if row.delivery.is_once and of_row == same and row.status not in SETTLED:
                return row
        return None


def _is_wanted(row: Row, wanted: Wanted) -> bool:
    delivery = row.delivery
    event, repo = delivery.event or "", delivery.repo or ""
    return (
        row.id > wanted.after
        and (wanted.ids is None or row.id in wanted.ids)
        and wanted.endpoint in (None, delivery.endpoint)
        and (not wanted.statuses or row.status in wanted.statuses)
        and (wanted.event is None or _is_scope(event, wanted.event))
        and (wanted.repo is None or _is_repo(repo, wanted.repo))
        and wanted.origin in (None, delivery.origin)
        and wanted.is_pause_asked in (None, row.is_pause_asked)
        and wanted.pending_after in (None, row.pending_after)
        and delivery.received_at >= wanted.since
    )


def _is_scope(event: str, wanted: str) -> bool:
    return event == wanted or event.startswith((f"{wanted}.", f"{wanted}:"))


def _is_repo(repo: str, wanted: str) -> bool:
    return fnmatchcase(repo, wanted) or fnmatchcase(repo, f"*:{wanted}")
