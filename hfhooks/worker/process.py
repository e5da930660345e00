"""The worker process: warm up, load, report, serve.

The gateway starts `python -P -m hfhooks.worker.process` and talks to it in JSON lines: `load` and
`stop` come in on what was stdin, `ready` or `failed` goes out on what was stdout. The script sees
an empty stdin, and what it prints goes to stderr. When the gateway is gone the worker goes too.
"""

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from hfhooks.errors import HfhooksError
from hfhooks.wire import TOKEN_HEADER

Message = dict[str, Any]


def main() -> None:
    """Serve until the gateway says stop."""
    _leave_ctrl_c_to_the_gateway()
    control = Control()
    import fastapi  # noqa: F401 # what every script waits for, done before it is named
    import uvicorn  # noqa: F401

    message = control.wait_for_load()
    try:
        serve(message, control)
    except HfhooksError as error:
        control.report(
            type="failed",
            message=str(error),
            help=error.help,
            file=getattr(error, "file", None),
            line=getattr(error, "line", None),
            exit_code=error.exit_code,
        )
        sys.exit(error.exit_code)


class Control:
    """The two pipes to the gateway."""

    def __init__(self) -> None:
        self._incoming = os.fdopen(os.dup(0), "rb")
        self._outgoing = os.fdopen(os.dup(1), "wb")
        self._loads: SimpleQueue[Message] = SimpleQueue()
        self.on_stop: Callable[[], None] = lambda: os._exit(0)
        """What `stop` does; until the server runs there is nothing to finish."""
        self.socket_file: Path | None = None
        _repoint_standard_streams()
        Thread(target=self._listen, daemon=True, name="hfhooks-control").start()

    def wait_for_load(self) -> Message:
        return self._loads.get()

    def report(self, **message: Any) -> None:
        self._outgoing.write(json.dumps(message).encode() + b"\n")
        self._outgoing.flush()

    def _listen(self) -> None:
        for line in self._incoming:
            message = json.loads(line)
            if message["type"] == "load":
                self._loads.put(message)
            else:
                self.on_stop()
        self._leave()

    def _leave(self) -> None:
        """The gateway is gone without a word: leave nothing behind."""
        if self.socket_file:
            self.socket_file.unlink(missing_ok=True)
            self.socket_file.parent.rmdir()
        os._exit(1)


def serve(message: Message, control: Control) -> None:
    """Load the targets, report their endpoints, and answer deliveries until told to stop."""
    from hfhooks.listener import Listener, run
    from hfhooks.worker.app import build
    from hfhooks.worker.loading import Target, load

    targets = [Target(**{**row, "folders": tuple(row["folders"])}) for row in message["targets"]]
    sys.argv[:] = [targets[0].file or targets[0].name]
    app, endpoints = build(load(targets))
    sock, port = _bind(message["socket"], control)

    def report() -> None:
        control.report(type="ready", port=port, endpoints=[row.as_json() for row in endpoints])

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    listener = Listener(
        app if port is None else _Guarded(app, message["token"]),
        sock,
        report,
        date_header=False,
        # The gateway keeps its connections open; after 5 seconds, the default, they would break.
        timeout_keep_alive=24 * 3600,
    )
    control.on_stop = listener.stop
    run(listener.listen())


class _Guarded:
    """Lets in only the gateway, where the socket is a port that others can reach."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = (TOKEN_HEADER.encode(), token.encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._expected not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await self._app(scope, receive, send)


def _bind(path: str | None, control: Control) -> tuple[socket.socket, int | None]:
    """Return a Unix socket at the path, or without one a loopback socket and its port."""
    if path is None:
        sock = socket.create_server(("127.0.0.1", 0))
        return sock, sock.getsockname()[1]
    control.socket_file = Path(path)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    return sock, None


def _leave_ctrl_c_to_the_gateway() -> None:
    # Ctrl-C reaches every process of the terminal. A handler rather than SIG_IGN: programs that
    # the user's code starts must not be deaf to it.
    signal.signal(signal.SIGINT, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _repoint_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # it was a pipe


if __name__ == "__main__":
    main()
