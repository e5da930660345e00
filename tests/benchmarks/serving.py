"""A contender that serves."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil

from tests.benchmarks.contenders import Contender
from tests.benchmarks.load import PAYLOAD, Failure, uninterrupted
from tests.benchmarks.machine import ALL_CORES, LOAD_CORE, SERVER_CORE, cpu, family, on_cores, pin

__all__ = ["Server", "ask", "served"]

NOT_OURS = ("HFHOOKS_", "WEBHOOK_", "NGROK", "HF_", "UVICORN_", "SPACE_ID", "COVERAGE_", "PYTHON")
"""How variables begin that would set what is measured, or keep it from being compiled once."""
PATIENCE = 60
"""Seconds for a start, or for what is left of a load."""
GRACE = 3
"""Seconds to end in."""
LOOK = 0.1
"""Seconds over which a server uses less than this part of a core if nothing is left: Gradio looks
what there is all the time."""
AT_REST = 0.2


@dataclass(frozen=True)
class Server:
    contender: Contender
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"
    env: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/train"

    @property
    def script(self) -> Path:
        return self.folder / self.contender.file

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Run another command of the same program, in the same place."""
        program = self.contender.command[: self.contender.command.index("serve")]
        return subprocess.run(
            [*program, *arguments], cwd=self.folder, env=self.env, capture_output=True
        )

    def await_first(self, status: int) -> None:
        """Return when it has answered a delivery with this status."""
        deadline = time.monotonic() + PATIENCE
        while (answer := ask(self.url)) is None or answer[0] != status:
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "stderr").read_text(errors="replace")[-2000:]
                raise Failure(f"{self.contender.name} does not answer {status}: {answer}\n{said}")
            time.sleep(0.002)

    def share_cores(self) -> None:
        """Keep it on the first core, but what has a gateway in front beside the load."""
        first, *others = family(self.process.pid)
        pin(first.pid, SERVER_CORE)
        for other in others:
            pin(other.pid, LOAD_CORE if self.contender.has_gateway else SERVER_CORE)

    def used(self) -> tuple[float, float]:
        """Return the microseconds of CPU of the process in front, and of all others."""
        first, *others = (cpu(process) for process in family(self.process.pid))
        return first, sum(others)

    def await_rest(self) -> None:
        """Return when it has worked off what it has taken in."""
        deadline, calm, before = time.monotonic() + PATIENCE, 0, sum(self.used())
        while calm < 3:
            if time.monotonic() > deadline:
                raise Failure(f"{self.contender.name} is busy {PATIENCE} s after its load")
            time.sleep(LOOK)
            now = sum(self.used())
            calm = calm + 1 if now - before < AT_REST * LOOK * 1e6 else 0
            before = now

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it, and whatever it has started."""
        started = family(self.process.pid)
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        psutil.wait_procs(started, timeout=GRACE)
        for process in started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def served(
    contender: Contender,
    script: str,
    *,
    status: int = 200,
    cores: set[int] | None = None,
    **settings: object,
) -> Iterator[Server]:
    """Serve a script; yield the server once it has answered with this status.

    Settings of hfhooks are set by the environment, so that the others need not know them; and
    without `cores` it may use them all.
    """
    with (
        TemporaryDirectory(dir=contender.disk, prefix="hfhooks-bench-") as name,
        ExitStack() as stack,
    ):
        with uninterrupted():
            server = started(contender, script, Path(name), cores, settings)
            stack.callback(server.end)
        server.await_first(status)
        yield server


def started(
    contender: Contender,
    script: str,
    folder: Path,
    cores: set[int] | None,
    settings: dict[str, object],
) -> Server:
    (folder / contender.file).write_text(script)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    values = {"reload": "false", "grace": "0"} | {k: str(value) for k, value in settings.items()}
    env = {
        **ours,
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
        "PYTHONPATH": str(contender.root),
        "PORT": str(port),
        "UVICORN_RELOAD": values["reload"],
        **{f"HFHOOKS_{name.upper()}": value for name, value in values.items()},
        **contender.env,
    }
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [part.format(port=port) for part in contender.command],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for us, who end it
            preexec_fn=on_cores(cores or ALL_CORES),
        )
    return Server(contender, folder, port, process, env)


def ask(url: str, body: bytes = PAYLOAD) -> tuple[int, bytes] | None:
    """Return the status and the body of one answer, None where there is none."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("POST", parts.path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
