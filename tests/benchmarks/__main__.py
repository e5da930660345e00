"""hfhooks beside its peers, and beside an earlier hfhooks, in turns on one machine.

Each row of the table is a measure, and each contender gets its turn in each round, in an order that
alternates. The load, and the worker of hfhooks, have one core; the gateway, or the whole of another
server, has the other. Ratios are those of the same round; medians are shown, with quartiles: a
difference within them is none. No goal ends the run badly, but any answer to a load does that is no
2xx. Ctrl-C leaves nothing behind.
"""

import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import report
from tests.benchmarks.contenders import BASELINE, REAL_DISK, Contender, contenders
from tests.benchmarks.load import ROOT
from tests.benchmarks.machine import LOAD_CORE, describe, pin
from tests.benchmarks.measures import FULL, QUICK
from tests.benchmarks.table import Results, Row, play, rows


def main(options: Namespace) -> int:
    pin(getpid(), LOAD_CORE)  # and the load, which we start
    about = describe(options.state_dir) | {
        "before": options.before or "-",
        "rounds": options.rounds,
    }
    print("; ".join(f"{name}: {value}" for name, value in about.items()))
    with earlier(options.before) as before:
        table, errors = measured(options, before)
    for line in report.goals(table):
        print(line)
    if options.json:
        options.json.write_text(report.as_json(about, table))
    for error in errors:
        print(f"FAILED: {error}", file=sys.stderr)
    return 1 if errors else 0


def measured(options: Namespace, before: Path | None) -> tuple[list[Results], list[str]]:
    """Return all results, and what went wrong."""
    table, errors = [], []
    known = list(installed(contenders(options.state_dir, before), options.contenders))
    scale = QUICK if options.quick else FULL
    for row in chosen(rows(scale), known, options):
        results, wrong = play(row, known, options.rounds, scale.uncounted)
        errors += wrong
        errors += [
            f"{row.name}: {number} requests to {name} were not answered with a 2xx"
            for name, number in results.failed.items()
        ]
        print("\n".join(report.details(results)), flush=True)
        table.append(results)
    return table, errors


def installed(all_of_them: Sequence[Contender], names: Sequence[str]) -> Iterator[Contender]:
    """Yield the contenders of these names that can be measured here, and the baseline."""
    for contender in all_of_them:
        if names and contender.name not in (*names, BASELINE):
            continue
        if missing := contender.missing:
            hint = "`make bench-peers` installs what pip can"
            print(f"{contender.name}: left out, without {', '.join(missing)}; {hint}")
        else:
            yield contender


def chosen(table: Sequence[Row], known: Sequence[Contender], options: Namespace) -> list[Row]:
    """Return the rows that are wanted, and have somebody who is measured."""
    return [
        row
        for row in table
        if any(each.name in row.names for each in known)
        and any(part in row.name for part in options.only or [""])
        and not any(part in row.name for part in options.skip)
    ]


@contextmanager
def earlier(commit: str | None) -> Iterator[Path | None]:
    """Yield where the hfhooks of an earlier commit is, if there is one."""
    if not commit:
        yield None
        return
    with TemporaryDirectory(prefix="hfhooks-bench-") as folder:
        git = ["git", "-C", str(ROOT), "archive", commit, "hfhooks"]
        archive = subprocess.run(git, stdout=subprocess.PIPE)
        if archive.returncode:
            print(f"before: left out, because git does not give us {commit}")
            yield None
        else:
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
            yield Path(folder)


def parsed(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--before", metavar="COMMIT", help="measure the hfhooks of this one, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="parts of rows' names"
    )
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="the same, left out")
    parser.add_argument("--contenders", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="only see that all of it works")
    parser.add_argument("--state-dir", type=Path, default=REAL_DISK, help="the disk to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(parsed()))
    except KeyboardInterrupt:
        sys.exit(130)
