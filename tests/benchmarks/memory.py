"""What a server that waits for deliveries takes of the memory, beside huggingface_hub's.

    python tests/benchmarks/memory.py [ROUNDS]

The proportional set size of the server with all its children: a page that several processes share
counts for each in part. One server at a time, with the same handler, a few seconds after it has
answered one delivery. Linux only.

Goal: at most 0.8 times what huggingface_hub's `WebhooksServer` takes.
"""

import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from tests.benchmarks.load import (
    BIN,
    FASTAPI_SCRIPT,
    HANDLER,
    HFHOOKS_SCRIPT,
    PAYLOAD,
    REAL_DISK,
    has,
    running,
)
from tests.harness import COMMAND, post, wait_until

GRADIO_SCRIPT = f"""import sys
from huggingface_hub import WebhookPayload, WebhooksServer
app = WebhooksServer()
@app.add_webhook("/train"){HANDLER}
app.launch(share=False, server_port=int(sys.argv[-1]))
"""
OFFLINE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
PEER = "WebhooksServer"
SERVE = [*COMMAND, "serve", "app.py", "--state-dir", "state"]
SERVERS: dict[str, tuple[str, list[str | Path]]] = {
    "hfhooks serve": (HFHOOKS_SCRIPT, [*SERVE, "--no-reload"]),
    "hfhooks serve --reload": (HFHOOKS_SCRIPT, [*SERVE, "--reload"]),
    "uvicorn": (FASTAPI_SCRIPT, [BIN / "uvicorn", "app:app"]),
    PEER: (GRADIO_SCRIPT, [sys.executable, "app.py"]),
}
GOAL = 0.8
REST = 3.0
"""Seconds after the answer, in which spare workers warm up."""


@dataclass(frozen=True)
class Size:
    mib: float
    processes: int


def main(rounds: int) -> None:
    if sys.platform != "linux":
        print("memory: left out, because only Linux tells the proportional set size")
        return
    names = [name for name in SERVERS if name != PEER or has(PEER, "gradio", "huggingface_hub")]
    sizes = defaultdict(list)
    for _ in range(rounds):
        for name in names:
            sizes[name].append(measured(name))
    print(f"{f'idle, median of {rounds} rounds':<27}  PSS, MiB  processes   ratio")
    peer = median(size.mib for size in sizes[PEER]) if PEER in sizes else None
    for name, own in sizes.items():
        mib = median(size.mib for size in own)
        ratio = f"{mib / peer:8.2f}" if peer else f"{'-':>8}"
        goal = f"   goal <= {GOAL}" if name.startswith("hfhooks") else ""
        print(f"{name:<27} {mib:9.1f} {own[-1].processes:10} {ratio}{goal}")


def measured(name: str) -> Size:
    """Return what a server takes that has answered and does nothing."""
    script, command = SERVERS[name]
    with TemporaryDirectory(dir=REAL_DISK, prefix="hfhooks-bench-") as folder:
        Path(folder, "app.py").write_text(script)
        with running(Path(folder), *command, env=OFFLINE) as (pid, url):
            wait_until(lambda: answers(url), timeout=60)
            time.sleep(REST)
            server = psutil.Process(pid)
            family = [server, *server.children(recursive=True)]
            pages = sum(process.memory_full_info().pss for process in family)
            return Size(pages / 2**20, len(family))


def answers(url: str) -> bool:
    try:
        return post(url, PAYLOAD).status == 200
    except (OSError, HTTPException):
        return False


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    main(parser.parse_args().rounds)
