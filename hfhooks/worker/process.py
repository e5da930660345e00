"""The worker process: warm up, load, report, serve.

The gateway starts it as `python -P -m hfhooks.worker.process`.
"""

import os
import signal
from typing import Any

from hfhooks.errors import HfhooksError
from hfhooks.redact import redact
from hfhooks.tracebacks import users_frames
from hfhooks.worker.control import Control
from hfhooks.worker.loading import Target
from hfhooks.worker.preload import preload
from hfhooks.worker.sources import local_files


def main() -> None:
    """Serve until the gateway says stop."""
    _leave_signals_to_the_gateway()
    control = Control()
    from hfhooks.worker.compat import stand_in_for_huggingface_hub
    from hfhooks.worker.serve import serve  # brings FastAPI, while no script is named yet

    stand_in_for_huggingface_hub()
    message = _prepared(control)
    try:
        serve(message, control)
    except HfhooksError as error:
        control.report(
            type="failed",
            message=redact(str(error)),
            help=error.help and redact(error.help),
            file=getattr(error, "file", None),
            line=getattr(error, "line", None),
            exit_code=error.exit_code,
            files=local_files(),
            traceback=[
                redact(line)
                for line in users_frames(error.__cause__, message.get("verbose", False))
            ],
        )
        os._exit(error.exit_code)  # a thread that the script has started must not keep us


def _prepared(control: Control) -> dict[str, Any]:
    """Do in advance what can be done, and return the message that says what to load."""
    if not control.is_load_waiting:
        from hfhooks.worker.warmup import warm_up

        warm_up()
    while (message := control.wait_for_task())["type"] == "preload":
        preload(Target.from_json(message["targets"][0]))
        control.report(type="preloaded")
    return message


def _leave_signals_to_the_gateway() -> None:
    # Ctrl-C reaches every process of the terminal, a service manager tells every process of the
    # service. Handlers rather than SIG_IGN: programs the user's code starts must not be deaf.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


if __name__ == "__main__":
    main()
