"""What a million deliveries in the journal cost, beside an empty one.

    python tests/benchmarks/million.py [DELIVERIES] [--state-dir FOLDER]

A server records some deliveries; SQL then copies these until there are so many, each with its
attempt and a Webhook-Id of its own. Both journals are measured in turns.

Goals: acknowledged within 1.2 times the time, ready within 2 s, the newest twenty listed within
100 ms.
"""

import json
import sqlite3
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.load import (
    HFHOOKS_SCRIPT,
    PAYLOAD,
    REAL_DISK,
    Answers,
    disk,
    journal_in,
    read_only,
    send,
    serve,
    unfinished,
)
from tests.harness import Server, wait_until

ROUNDS = 5
POSTS = 100
"""In a round, one after the other."""
JOURNALS = ("empty", "full")
KEEP_ALL = {
    "HFHOOKS_KEEP_DELIVERIES": "100000000",
    "HFHOOKS_KEEP_DAYS": "36500",
    "HFHOOKS_KEEP_MIB": "1000000",
}
SAMPLES = 20
COPIES_AT_ONCE = 2_500
OF_ITS_OWN = {
    "id": f"id + copy * {SAMPLES}",
    "delivery_id": f"delivery_id + copy * {SAMPLES}",
    "webhook_id": "webhook_id || '-' || copy",
}
"""Columns that a copy does not share with its sample."""
COPY = """
WITH copies (copy) AS (SELECT :first UNION ALL SELECT copy + 1 FROM copies WHERE copy + 1 < :end)
INSERT INTO {table} ({columns}) SELECT {values} FROM copies CROSS JOIN {table} WHERE {key} <= {last}
"""
RECENT = """
SELECT id, endpoint, event, status,
    (SELECT count(*) FROM attempts WHERE delivery_id = id) AS attempts
FROM deliveries ORDER BY id DESC LIMIT 20
"""


def main(deliveries: int, state_dir: Path) -> None:
    with TemporaryDirectory(dir=state_dir, prefix="hfhooks-bench-") as name:
        folder = Path(name)
        (folder / "app.py").write_text(HFHOOKS_SCRIPT)
        with started(folder) as servers:
            record_samples(servers["full"])
            wait_until(lambda: unfinished(journal_in(folder / "full")) == 0)
        fill(journal_in(folder / "full"), deliveries)
        print(f"{f'{ROUNDS} rounds, {disk(folder)}':<34}     empty      full    ratio")
        ready = [{name: time_to_ready(folder, name) for name in JOURNALS} for _ in range(ROUNDS)]
        show("command to ready line, ms", medians(ready), "full <= 2,000")
        lists = [{name: time_to_list(folder, name) for name in JOURNALS} for _ in range(ROUNDS)]
        show("the newest 20 listed, ms", medians(lists), "full <= 100")
        with started(folder) as servers:
            answers = acknowledged(folder, servers)
        for percent in (50, 99):
            latencies = {name: answers[name].percentile(percent) for name in JOURNALS}
            show(f"acknowledged, p{percent} of {ROUNDS * POSTS}, ms", latencies, "ratio <= 1.2")
        with read_only(journal_in(folder / "full")) as connection:
            (left,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
            print(f"{left:,} deliveries were in the full journal in the end")


@contextmanager
def started(folder: Path) -> Iterator[dict[str, Server]]:
    """Yield a server on each journal, both ready."""
    with server(folder, "empty") as empty, server(folder, "full") as full:
        assert empty.ready and full.ready
        yield {"empty": empty, "full": full}


def server(folder: Path, name: str) -> Server:
    return serve(folder / "app.py", name, "--wait", "0", env=KEEP_ALL)


def record_samples(server: Server) -> None:
    """Let it record deliveries of 1 to 2 KB."""
    for number in range(SAMPLES):
        body = {**json.loads(PAYLOAD), "filler": "." * (number * 1000 // SAMPLES)}
        assert server.post("train", body, webhook_id=f"sample-{number}").status == 202


def fill(journal: Path, deliveries: int) -> None:
    """Copy the samples, which are numbered from 1, until there are so many deliveries."""
    copies, start = deliveries // SAMPLES, time.perf_counter()
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(1, copies, COPIES_AT_ONCE):
            end = min(first + COPIES_AT_ONCE, copies)
            with connection:
                copy(connection, "deliveries", "id", first, end)
                copy(connection, "bodies", "delivery_id", first, end)
            print(f"{end * SAMPLES:,} deliveries after {time.perf_counter() - start:.0f} s")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    print(f"the journal has {journal.stat().st_size / 1e6:,.0f} MB\n")


def copy(connection: sqlite3.Connection, table: str, key: str, first: int, end: int) -> None:
    """Add copies number `first` to `end` of the samples, whatever else the table's columns are."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(OF_ITS_OWN.get(column, column) for column in columns)
    names = ", ".join(columns)
    sql = COPY.format(table=table, columns=names, values=values, key=key, last=SAMPLES)
    connection.execute(sql, {"first": first, "end": end})


def time_to_ready(folder: Path, name: str) -> float:
    start = time.perf_counter()
    with server(folder, name) as starting:
        assert starting.ready
        return time.perf_counter() - start


def time_to_list(folder: Path, name: str) -> float:
    start = time.perf_counter()
    with read_only(journal_in(folder / name)) as connection:
        recent(connection)
    return time.perf_counter() - start


def recent(connection: sqlite3.Connection) -> list[Any]:
    """Return the newest deliveries: id, endpoint, event, status, number of attempts."""
    return connection.execute(RECENT).fetchall()


def acknowledged(folder: Path, servers: dict[str, Server]) -> dict[str, Answers]:
    """Return the answers of each server, asked in turns, each when it has nothing else to do."""

    def answers(name: str) -> Answers:
        answers = send(servers[name].url("train"), 1, POSTS)
        answers.complain(202)
        wait_until(lambda: unfinished(journal_in(folder / name)) == 0)
        return answers

    for name in JOURNALS:
        answers(name)  # nobody's first requests count
    turns = [{name: answers(name) for name in JOURNALS} for _ in range(ROUNDS)]
    return {name: reduce(add, (turn[name] for turn in turns)) for name in JOURNALS}


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of the seconds for each journal, in milliseconds."""
    return {name: median(turn[name] for turn in turns) * 1000 for name in JOURNALS}


def show(title: str, values: dict[str, float], goal: str) -> None:
    empty, full = values["empty"], values["full"]
    print(f"{title:<34}{empty:>10.1f}{full:>10.1f}{full / empty:>9.2f}   goal: {goal}")


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("deliveries", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--state-dir", type=Path, default=REAL_DISK)
    options = parser.parse_args()
    main(options.deliveries, options.state_dir)
