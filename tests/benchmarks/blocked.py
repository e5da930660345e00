"""How fast a delivery is acknowledged while every handler blocks for a minute.

    python tests/benchmarks/blocked.py [ROUNDS]

Three servers of the same script alternate: one whose handlers block, where every POST is answered
202 because there is no handler free; an idle one with `--wait 0`, which answers 202 as well and
then runs the handler; an idle one that answers 200 with the handler's result. All handlers that
may run at once are blocked, and as many wait behind them as take far longer than this.

Goal: the p99 of the first at most 1.5 times that of either idle one.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import reduce
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.load import PAYLOAD, REAL_DISK, Answers, disk, send, serve

SCRIPT = """
import time
from hfhooks import webhook_endpoint

@webhook_endpoint
{kind} train(payload: dict):
    if payload.get("blocks"):
        time.sleep(60)
    return {{"name": payload["repo"]["name"]}}
"""
BLOCKING = json.dumps({**json.loads(PAYLOAD), "blocks": True}).encode()
BLOCKED, AT_ONCE, RESULT = "blocked, 202", "idle, 202 (--wait 0)", "idle, 200 (result)"
SERVERS = {BLOCKED: (202, "1"), AT_ONCE: (202, "0"), RESULT: (200, "5")}
BLOCKERS = 64
"""Four times the handlers that run at once: blocked for four minutes where they run in threads."""
CONNECTIONS, REQUESTS = 4, 100


def main(rounds: int) -> None:
    print(f"{rounds} x {REQUESTS} POSTs, {CONNECTIONS} connections; {disk(REAL_DISK)}")
    for kind in ("async def", "def"):
        with TemporaryDirectory(dir=REAL_DISK, prefix="hfhooks-bench-") as name:
            folder = Path(name)
            (folder / "app.py").write_text(SCRIPT.format(kind=kind))
            report(kind, measured(folder, rounds))


def measured(folder: Path, rounds: int) -> dict[str, Answers]:
    """Return the answers of each server, in turns."""
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(served(folder, wait)) for name, (_, wait) in SERVERS.items()
        }
        for url in urls.values():
            send(url, CONNECTIONS, REQUESTS)
        send(urls[BLOCKED], BLOCKERS, BLOCKERS, BLOCKING).complain(202)
        turns = [
            {name: send(url, CONNECTIONS, REQUESTS) for name, url in urls.items()}
            for _ in range(rounds)
        ]
    return {name: reduce(add, (turn[name] for turn in turns)) for name in SERVERS}


@contextmanager
def served(folder: Path, wait: str) -> Iterator[str]:
    """Yield the URL of a server that is killed in the end: a blocked handler hears nothing."""
    with serve(folder / "app.py", f"wait-{wait}", "--wait", wait) as server:
        try:
            yield server.url("train")
        finally:
            workers = server.worker_pids
            server.stop(signal.SIGKILL)
            for pid in workers:
                with suppress(ProcessLookupError):  # it noticed
                    os.kill(pid, signal.SIGKILL)


def report(kind: str, answers: dict[str, Answers]) -> None:
    print(f"\n{kind + ', time.sleep(60)':<26} p50 ms    p99 ms   blocked p99 is")
    for name, own in answers.items():
        times = answers[BLOCKED].percentile(99) / own.percentile(99)
        goal = "" if name == BLOCKED else f"{times:10.2f} x   goal <= 1.5"
        print(f"  {name:<22} {own.percentile(50):8.2f}  {own.percentile(99):8.2f} {goal}")
        own.complain(SERVERS[name][0])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
