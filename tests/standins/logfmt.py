"""Log lines as ngrok's agent writes them on stdout."""

import fcntl
import json
import re
import termios
import threading
import time
from contextlib import suppress


class Log:
    """Writes lines like `t=... lvl=info msg="..." obj=web`, also when nobody reads any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, level: str, message: str, **fields: object) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        named = {"t": moment, "lvl": level, "msg": message} | fields
        line = " ".join(f"{name}={_quote(str(value))}" for name, value in named.items())
        with self._lock, suppress(BrokenPipeError):
            print(line, flush=True)

    def wait_until_read(self) -> None:
        """Wait for the reader of the pipe, but not for ever.

        pyngrok stops reading when the agent has ended, so a last word said too fast is lost.
        """
        deadline = time.monotonic() + 5
        with suppress(OSError):
            while any(fcntl.ioctl(1, termios.FIONREAD, bytes(4))) and time.monotonic() < deadline:
                time.sleep(0.005)


def _quote(value: str) -> str:
    """Quote as Go does: a line break becomes a backslash and a letter."""
    return value if re.fullmatch(r'[^\s"=\\]+', value) else json.dumps(value)
