"""How long it takes to start and to stop, beside plain uvicorn + FastAPI with the same handler.

    python tests/benchmarks/start.py [ROUNDS]

Goals: the first 200 after at most 1.5 times what uvicorn needs; commands within 200 ms.
Rounds alternate, so that both see the same machine; medians are compared.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

from tests.benchmarks.load import BIN, FASTAPI_SCRIPT, HFHOOKS_SCRIPT, PAYLOAD

OURS = [str(BIN / "hfhooks"), "serve", "with_hfhooks.py", "--port"]
PEERS = [str(BIN / "uvicorn"), "with_fastapi:app", "--port"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import hfhooks": [sys.executable, "-c", "import hfhooks"],
    "import webhook_endpoint": [sys.executable, "-c", "from hfhooks import webhook_endpoint"],
    "a typer program with one option": [sys.executable, "floor.py", "--name", "x"],
    "hfhooks --help": [str(BIN / "hfhooks"), "--help"],
    "hfhooks print-urls": [str(BIN / "hfhooks"), "print-urls", "--local"],
    "hfhooks deliveries": [str(BIN / "hfhooks"), "deliveries"],
}
FLOOR = """
import typer
def main(name: str = "me") -> None: print(name)
typer.run(main)
"""
"""What every program with options takes: typer checks them by pydantic."""


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        Path(folder, "with_hfhooks.py").write_text(HFHOOKS_SCRIPT)
        Path(folder, "with_fastapi.py").write_text(FASTAPI_SCRIPT)
        Path(folder, "floor.py").write_text(FLOOR)
        os.chdir(folder)
        times = [(start_and_stop(OURS), start_and_stop(PEERS)) for _ in range(rounds)]
        print(f"{f'median of {rounds} rounds, ms':<31}   hfhooks   uvicorn     ratio")
        for row, name in enumerate(("start to first 200", "SIGTERM to exit, idle")):
            own, peer = (median(time[side][row] for time in times) for side in (0, 1))
            print(f"{name:<31} {own:9.0f} {peer:9.0f} {own / peer:9.2f}")
        with subprocess.Popen([*OURS, "0"], stderr=subprocess.PIPE) as server:
            assert server.stderr
            next(line for line in server.stderr if b"Press Ctrl-C" in line)
            for name, command in COMMANDS.items():
                print(f"{name:<31} {median(run(command) for _ in range(rounds)):9.0f}")
            server.terminate()


def start_and_stop(command: list[str]) -> tuple[float, float]:
    """Return the milliseconds from the command to its first 200, and from SIGTERM to its end."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not answers(port):
        assert process.poll() is None, f"{command} ended"
        time.sleep(0.002)
    answered = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.wait()
    return (answered - started) * 1000, (time.perf_counter() - answered) * 1000


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/webhooks/train", PAYLOAD, headers)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def run(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
