"""Save a script again and again while deliveries come, and look for lost and doubled ones.

    python -m tests.campaigns.saves [SAVES] [--seed N]

A fifth of the versions are broken; some are saved before the one before them is loaded. Every
delivery says at its start which version handles it, in a file, so that one handled twice is seen.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.harness import JSON, Server, payload_bytes, request, wait_until

RATE = 50
"""Deliveries a second."""
MOST_ANSWERS = 30
"""Between two saves."""
BROKEN = (
    "from hfhooks import webhook_endpoint\n\ndef version(payload:\n",
    "1 / 0\n",
    "import sys\nsys.exit()\n",
    "",
)
PAYLOAD = payload_bytes("pr_create_v3_docs")


class Sender:
    """Sends deliveries until told to stop, each over a connection of its own."""

    def __init__(self, url: str) -> None:
        self.answers: list[str] = []
        """Statuses, or the names of errors."""
        self._url = url
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._is_over.is_set():
            due = time.monotonic() + len(self._threads) / RATE
            try:
                status = str(request("POST", self._url, PAYLOAD, JSON).status)
            except OSError as error:
                status = type(error).__name__
            self.answers.append(status)
            self._wait_until(due)

    def _wait_until(self, due: float) -> None:
        wait_until(lambda: time.monotonic() >= due or self._is_over.is_set())

    def wait_for(self, more: int) -> None:
        """Return when so many more answers have come."""
        number = len(self.answers) + more
        wait_until(lambda: len(self.answers) >= number, timeout=30)

    def stop(self) -> Counter[str]:
        """Stop; return how many answers there were of each kind."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        return Counter(self.answers)


@dataclass(frozen=True)
class Outcome:
    """What came of so many saves."""

    answers: Counter[str]
    reloads: Counter[bool]
    """How many versions were put in service, and how many shown to be broken."""
    lost: int
    handled_twice: int
    is_last_served: bool

    @property
    def is_fine(self) -> bool:
        accepted = set(self.answers) <= {"200", "202"}
        return accepted and self.is_last_served and not (self.lost or self.handled_twice)


def campaign(folder: Path, saves: int, seed: int) -> Outcome:
    """Save so many versions of a script under load; return what came of it."""
    chance, script, log = random.Random(seed), folder / "app.py", folder / "log"
    script.write_text(versioned(0, log))
    with Server(script, "--reload", "--state-dir", folder / "state") as server:
        url, last = server.url("version"), 0
        sender = Sender(url)
        for number in range(1, saves + 1):
            is_broken = chance.random() < 0.2
            script.write_text(chance.choice(BROKEN) if is_broken else versioned(number, log))
            last = last if is_broken else number
            sender.wait_for(chance.randint(1, MOST_ANSWERS))
        script.write_text(versioned(last, log) + "\n")
        answered = request("POST", url, PAYLOAD, JSON)
        wait_until(lambda: version_of(url) == last, timeout=30)
        answers = sender.stop()
        accepted = answers["200"] + answers["202"]
        wait_until(lambda: len(server.deliveries) > accepted, timeout=30)
        handled = Counter(log.read_text().split())
        reloads = Counter(event["ok"] for event in server.events if event["type"] == "reload")
        return Outcome(
            answers,
            reloads,
            lost=sum(line["id"] not in map(int, handled) for line in server.deliveries),
            handled_twice=sum(number > 1 for number in handled.values()),
            is_last_served=answered.status in (200, 202) and version_of(url) == last,
        )


def version_of(url: str) -> object:
    return request("POST", url, PAYLOAD, JSON).json()


def versioned(number: int, log: Path) -> str:
    return f"""
from hfhooks import Delivery, webhook_endpoint

@webhook_endpoint
def version(payload, delivery: Delivery):
    with open({str(log)!r}, "a") as file:
        file.write(f"{{delivery.id}}\\n")
    return {number}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("saves", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="saves-") as folder:
        outcome = campaign(Path(folder), options.saves, options.seed)
    print(outcome)
    return 0 if outcome.is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
