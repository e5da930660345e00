"""How soon a saved handler answers, beside `uvicorn --reload` and `fastapi dev`.

    python tests/benchmarks/reload.py [SAVES] [--heavy]

Each server in turn, with the same handler, in a folder of its own: the handler is saved with a new
number in its answer and asked on new connections until that number comes back, counted from the
moment the file is closed. All the while another process sends a steady load. `--heavy` puts imports
before the handler that take seconds.

Goals: the median at most 60 ms and a tenth of `uvicorn --reload`; no request fails.
"""

import time
from argparse import ArgumentParser
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.benchmarks.load import (
    BIN,
    FASTAPI_SCRIPT,
    HFHOOKS_SCRIPT,
    PAYLOAD,
    REAL_DISK,
    Answers,
    has,
    percentile,
    running,
)
from tests.benchmarks.steady import RATE, steady_load
from tests.harness import COMMAND, post

RESULT = '"name": payload.repo.name'
HEAVY = "import pandas\nfrom sklearn.linear_model import LogisticRegression\n"
OURS, PEER, OTHER = "hfhooks serve --reload", "uvicorn --reload", "fastapi dev"
SERVE = [*COMMAND, "serve", "app.py", "--reload", "--wait", "5", "--state-dir", "../state"]
SERVERS: dict[str, tuple[str, list[str | Path]]] = {
    OURS: (HFHOOKS_SCRIPT, [*SERVE]),
    PEER: (FASTAPI_SCRIPT, [BIN / "uvicorn", "app:app", "--reload"]),
    OTHER: (FASTAPI_SCRIPT, [BIN / "fastapi", "dev", "app.py"]),
}
SAVES = {False: 30, True: 8}
PAUSES = {False: 1.5, True: 6.0}
"""Seconds from the first answer to the next save, by whether the imports are heavy."""
DEADLINE = 60
"""Seconds that new code may take."""


@dataclass(frozen=True)
class Result:
    delays: list[float]
    """Milliseconds from each save to the first answer of the new code."""
    answers: Answers


def main(saves: int, is_heavy: bool) -> None:
    if is_heavy and not has("reload with heavy imports", "pandas", "sklearn"):
        return
    names = [name for name in SERVERS if name != OTHER or has(OTHER, "fastapi_cli")]
    imports, pause = HEAVY if is_heavy else "", PAUSES[is_heavy]
    results = {name: measured(name, imports, saves, pause) for name in names}
    with_what = " of a script that imports pandas and scikit-learn" if is_heavy else ""
    print(f"{saves} saves{with_what}, {RATE} requests a second")
    report(results)


def measured(name: str, imports: str, saves: int, pause: float) -> Result:
    script, command = SERVERS[name]
    with TemporaryDirectory(dir=REAL_DISK, prefix="hfhooks-bench-") as folder:
        path = Path(folder, "code", "app.py")
        path.parent.mkdir()
        save(path, imports + script, 0)
        with running(path.parent, *command, env={"XDG_STATE_HOME": folder}) as (_, url):
            wait_for(0, url)
            time.sleep(pause)
            with steady_load(url) as answers:
                delays = []
                for version in range(1, saves + 1):
                    saved = save(path, imports + script, version)
                    delays.append((wait_for(version, url) - saved) * 1000)
                    time.sleep(pause)
                return Result(delays, answers())


def save(path: Path, script: str, version: int) -> float:
    """Write the script with this number in its answer; return when the file was closed."""
    path.write_text(script.replace(RESULT, f'"version": {version}'))
    return time.perf_counter()


def wait_for(version: int, url: str) -> float:
    """Return when the code of this version answered first."""
    deadline = time.perf_counter() + DEADLINE
    while not answers_with(version, url):
        assert time.perf_counter() < deadline, f"version {version} did not answer"
        time.sleep(0.001)
    return time.perf_counter()


def answers_with(version: int, url: str) -> bool:
    try:
        answer = post(url, PAYLOAD)
    except (OSError, HTTPException):  # the steady load counts them
        return False
    return answer.status == 200 and answer.json() == {"version": version}


def report(results: dict[str, Result]) -> None:
    print(f"{'save to new code, ms':<23}  median     p95   ratio    sent  failed  slowest, ms")
    slow = median(results[PEER].delays)
    for name, result in results.items():
        middle, late = median(result.delays), percentile(result.delays, 95)
        answers = result.answers
        print(
            f"{name:<23} {middle:7.0f} {late:7.0f} {middle / slow:7.2f}"
            f" {answers.sent:7} {answers.failed:7} {answers.percentile(100):12.0f}"
            + ("   goal <= 60, ratio <= 0.1, 0 failed" if name == OURS else "")
        )
        answers.complain(200)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("saves", nargs="?", type=int)
    parser.add_argument("--heavy", action="store_true")
    options = parser.parse_args()
    main(options.saves or SAVES[options.heavy], options.heavy)
