"""A steady load: so many requests a second, whatever becomes of the answers.

    python -m tests.benchmarks.steady URL < PIPE

sends each request over a connection of its own until the pipe is closed, waits for the answers that
are missing and prints one JSON object.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from hfhooks.tasks import run
from tests.benchmarks.load import PAYLOAD, Answers, Connection, encoded

RATE = 100
PATIENCE = 60
"""Seconds that a request waits for its answer."""


@contextmanager
def steady_load(url: str) -> Iterator[Callable[[], Answers]]:
    """Send a steady load from a process of its own; what is yielded ends it and returns it."""
    command = [sys.executable, "-m", __name__, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield lambda: Answers.from_json(process.communicate()[0])


async def answers_until_told(url: str) -> Answers:
    """Send requests until standard input ends, and return what came back."""
    told = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    answers, sent = Answers(0, Counter(), []), []
    started = time.perf_counter()
    while not told.done():
        sent.append(asyncio.create_task(ask(url, answers)))
        due = started + len(sent) / RATE
        await asyncio.sleep(max(0, due - time.perf_counter()))
    await asyncio.gather(*sent)
    return Answers(time.perf_counter() - started, answers.statuses, answers.latencies)


async def ask(url: str, answers: Answers) -> None:
    """Send one request and add what comes back to the answers."""
    parts = urlsplit(url)
    request = encoded(parts.path, PAYLOAD)
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: OneRequest(iter([request]), answers), parts.hostname or "", parts.port or 80
        )
    except OSError:
        answers.statuses["refused"] += 1
        return
    if not (await asyncio.wait([connection.closed], timeout=PATIENCE))[0]:
        answers.statuses["not answered"] += 1


class OneRequest(Connection):
    """Sends its request at once."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.send()


if __name__ == "__main__":
    print(json.dumps(vars(run(answers_until_told(sys.argv[1])))))
