"""Runs `hfhooks` in processes that are forked from this one, which has imported it all before.

A command takes most of its time to import what it needs, and the tests run hundreds. Each is a
process of its own with its own files, environment and exit code, as `python -m hfhooks` is.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

__all__ = ["LONGEST", "Zygote"]

LONGEST = 60
"""Seconds that a command may take."""
STREAMS = ("stdin", "stdout", "stderr")


class Zygote:
    """The process that is forked, as its parent holds it; it starts when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def run(
        self, arguments: tuple[str, ...], stdin: bytes, env: Mapping[str, str], cwd: Path | None
    ) -> tuple[int, bytes, bytes] | None:
        """Return the exit code and what was said; None while another command runs."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            with TemporaryDirectory() as folder:
                Path(folder, "stdin").write_bytes(stdin)
                wanted = {"arguments": arguments, "env": dict(env), "folder": folder}
                code = self._ask({**wanted, "cwd": str(cwd or Path.cwd())})
                said = [Path(folder, name).read_bytes() for name in STREAMS[1:]]
                return code, said[0], said[1]
        finally:
            self._lock.release()

    def _ask(self, request: object) -> int:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


IMPORTED = (
    "hfhooks.cli.main",
    "hfhooks.cli.commands.deliveries.change",
    "hfhooks.cli.commands.replay",
    "hfhooks.cli.commands.trigger",
    "hfhooks.journal.sqlite.records",
    "hfhooks.settings",
    "rich.console",
    "typer._adapters",
)
"""What commands import anyway, and what does not depend on the environment."""


def main() -> None:
    """Fork a command for each request that comes, until no more can come."""
    for name in IMPORTED:
        import_module(name)
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    while line := requests.readline():
        request = json.loads(line)
        if (pid := os.fork()) == 0:
            become(**request)
            return
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def become(arguments: list[str], env: dict[str, str], folder: str, cwd: str) -> None:
    """Be `python -m hfhooks`."""
    signal.alarm(LONGEST)
    flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for number, (name, flag) in enumerate(zip(STREAMS, flags, strict=True)):
        file = os.open(os.path.join(folder, name), flag)  # noqa: PTH118
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["hfhooks", *arguments]
    from hfhooks.__main__ import main
    from hfhooks.redact import redact

    redact.learn_environment()
    main()


if __name__ == "__main__":
    main()
