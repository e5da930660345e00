"""What grows, and what that costs: each a server that has much beside one that has nothing.

The measures yield how many times longer the one takes than the other.
"""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.contenders import PAYLOAD, Contender
from tests.benchmarks.measures import Measure, Numbers, Scale, Turns, of_load
from tests.benchmarks.serving import Server, served

__all__ = ["beside_slow", "blocked", "many_endpoints", "stored", "unfinished"]

BLOCKING = """import time
from hfhooks import webhook_endpoint
@webhook_endpoint
def train(payload: dict):
    if "blocks" in payload:
        time.sleep(60)
    return {"name": payload["repo"]["name"]}
"""
BLOCKS = load.PAYLOAD.replace(b"{", b'{"blocks": true,', 1)
STUCK = """import asyncio
from hfhooks import WebhookPayload, webhook_endpoint
@webhook_endpoint
async def train(payload: WebhookPayload):
    await asyncio.Event().wait()
"""
SLOW = """import asyncio
from hfhooks import WebhookPayload, webhook_endpoint
@webhook_endpoint(max_concurrency=1000)
async def slow(payload: WebhookPayload):
    await asyncio.Event().wait()
"""
MANY = """
for number in range({}):
    webhook_endpoint(f"/other{{number}}")(train)
"""
KEEP_ALL: dict[str, Any] = {"keep_deliveries": 10**8, "keep_days": 36500, "keep_mib": 10**6}
SAMPLES = 20
COPIES_AT_ONCE = 2_500
COPY = """
WITH copies (copy) AS (SELECT :first UNION ALL SELECT copy + 1 FROM copies WHERE copy + 1 < :end)
INSERT INTO {table} ({columns}) SELECT {values} FROM copies CROSS JOIN {table} WHERE {key} <= {last}
"""
OF_ITS_OWN = {
    "id": f"id + copy * {SAMPLES}",
    "delivery_id": f"delivery_id + copy * {SAMPLES}",
    "webhook_id": "webhook_id || '-' || copy",
}
"""Columns that a copy does not share with its sample."""


def in_turns(much: Callable[[], Numbers], nothing: Callable[[], Numbers]) -> Turns:
    """Yield what each takes and how many times longer the first one takes, their order changing."""
    while True:
        for is_first in (True, False):
            early = much() if is_first else None
            empty = nothing()
            full = early or much()
            failed = full.pop("failed", 0) + empty.pop("failed", 0)
            yield {
                **{name: full[name] / empty[name] for name in full},
                **{f"{name} ms": value for name, value in full.items()},
                **{f"{name} of nothing ms": value for name, value in empty.items()},
                "failed": failed,
            }


def acknowledged(server: Server, connections: int, requests: int) -> Numbers:
    answers = load.send(server.url, connections, 60, requests)
    return {"p50": answers.percentile(50), "p99": answers.percentile(99), "failed": answers.failed}


def blocked(scale: Scale) -> Measure:
    """Return what measures acknowledgements while every handler blocks for a minute.

    All that may run at once are blocked, and as many wait behind them as take far longer than this.
    """

    def measure(contender: Contender) -> Turns:
        with (
            served(contender, BLOCKING, wait=1) as busy,
            served(contender, BLOCKING, wait=0, status=202) as idle,
        ):
            load.send(busy.url, scale.blocked, 60, scale.blocked, BLOCKS)
            yield from in_turns(
                lambda: acknowledged(busy, 4, scale.requests),
                lambda: rested(idle, 4, scale.requests),
            )

    return measure


def rested(server: Server, connections: int, requests: int) -> Numbers:
    """Return what acknowledgements take, and let the handlers run before others are measured."""
    numbers = acknowledged(server, connections, requests)
    server.await_rest()
    return numbers


def stored(scale: Scale) -> Measure:
    """Return what measures acknowledgements with so many deliveries in the journal."""

    def measure(contender: Contender) -> Turns:
        serve = partial(
            served, contender, contender.scripts[PAYLOAD], status=202, wait=0, **KEEP_ALL
        )
        with TemporaryDirectory(dir=contender.disk, prefix="hfhooks-bench-") as name:
            journal = Path(name, "journal.db")
            with serve(journal=url_of(journal)) as server:
                load.send(server.url, 1, 60, SAMPLES - 1)  # one more was the first to be answered
                server.await_rest()
            fill(journal, scale.stored)
            with (
                serve(journal=url_of(journal)) as full,
                serve() as empty,
            ):
                yield from in_turns(
                    lambda: rested(full, 1, scale.requests),
                    lambda: rested(empty, 1, scale.requests),
                )

    return measure


def url_of(journal: Path) -> str:
    return f"sqlite:///{journal}"


def fill(journal: Path, deliveries: int) -> None:
    """Copy the samples, which are numbered from 1, until there are so many deliveries."""
    copies = deliveries // SAMPLES
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(1, copies, COPIES_AT_ONCE):
            span = {"first": first, "end": min(first + COPIES_AT_ONCE, copies)}
            with connection:
                for statement in copying(connection):
                    connection.execute(statement, span)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copying(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what copies the samples, with all that belongs to them, whatever else is in there."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
    )
    for (table,) in tables.fetchall():
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        key = "id" if table == "deliveries" else "delivery_id"
        if key in columns:
            values = ", ".join(OF_ITS_OWN.get(column, column) for column in columns)
            yield COPY.format(
                table=table, columns=", ".join(columns), values=values, key=key, last=SAMPLES
            )


def unfinished(scale: Scale) -> Measure:
    """Return what measures a start with so many deliveries that no handler has finished."""

    def measure(contender: Contender) -> Turns:
        with TemporaryDirectory(dir=contender.disk, prefix="hfhooks-bench-") as name:
            kept, used = Path(name, "kept"), Path(name, "used")
            kept.mkdir(mode=0o700)
            leave_unfinished(contender, kept / "journal.db", scale.unfinished)
            yield from in_turns(
                lambda: with_copy(contender, kept, used, scale), lambda: of_start(contender, scale)
            )

    return measure


def leave_unfinished(contender: Contender, journal: Path, number: int) -> None:
    """Record so many deliveries that are not finished when their server is killed."""
    with served(contender, STUCK, wait=0, status=202, journal=url_of(journal)) as server:
        if load.send(server.url, 16, 60, number).failed:
            raise load.Failure(f"{contender.name} does not take {number} deliveries")
        server.end(signal.SIGKILL)


def with_copy(contender: Contender, kept: Path, used: Path, scale: Scale) -> Numbers:
    shutil.copytree(kept, used)
    os.sync()  # or what was copied is written while it is measured
    try:
        return of_start(contender, scale, journal=url_of(used / "journal.db"))
    finally:
        shutil.rmtree(used)


def of_start(contender: Contender, scale: Scale, journal: str = "") -> Numbers:
    """Return how long the first acknowledgement takes, and those after it."""
    began = time.perf_counter()
    with served(contender, STUCK, wait=0, status=202, journal=journal) as server:
        ready = (time.perf_counter() - began) * 1000
        return {"start": ready, **acknowledged(server, 1, scale.requests)}


def many_endpoints(scale: Scale) -> Measure:
    """Return what measures the results of one of so many endpoints."""

    def measure(contender: Contender) -> Turns:
        script = contender.scripts[PAYLOAD]
        with (
            served(contender, script + MANY.format(scale.endpoints)) as many,
            served(contender, script) as one,
        ):
            yield from in_turns(lambda: taken(many, scale), lambda: taken(one, scale))

    return measure


def beside_slow(scale: Scale) -> Measure:
    """Return what measures the results of quick handlers beside so many that do not end."""

    def measure(contender: Contender) -> Turns:
        script = f"{SLOW}{contender.scripts[PAYLOAD]}"
        with (
            served(contender, script, wait=1) as busy,
            served(contender, script, wait=1) as idle,
        ):
            slow = busy.url.replace("train", "slow")
            load.send(slow, scale.blocked, 60, scale.blocked)
            yield from in_turns(lambda: taken(busy, scale), lambda: taken(idle, scale))

    return measure


def taken(server: Server, scale: Scale) -> Numbers:
    """Return the milliseconds that a result takes where 16 connections wait for theirs."""
    numbers = of_load(server, 16, scale.seconds)
    if not numbers["value"]:
        raise load.Failure(f"{server.contender.name} has sent no result: {numbers}")
    return {"value": 1000 / numbers["value"], "failed": numbers["failed"]}
