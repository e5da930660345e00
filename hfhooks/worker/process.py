"""The worker process: warm up, load, report, call handlers.

The gateway starts it as `python -P -m hfhooks.worker.process SOCKET PIPE`, with the numbers of a
socket and, on Linux, of the end of a pipe whose other end it alone has, and nothing comes through.
"""

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from hfhooks.errors import HfhooksError
from hfhooks.redact import redact
from hfhooks.script.target import Target
from hfhooks.tracebacks import users_frames
from hfhooks.worker.control import Control
from hfhooks.worker.frames import FAILED, LOAD, PRELOAD, PRELOADED, Frame, message_from
from hfhooks.worker.preload import preload
from hfhooks.worker.sources import local_files


def main() -> None:
    """Serve until the gateway says stop."""
    if sys.argv[2:]:
        _end_with_the_gateway(int(sys.argv[2]))
    gc.disable()  # while nothing but imports happens, which leave nothing to be collected
    _leave_signals_to_the_gateway()
    control = Control(int(sys.argv[1]))
    redact.follow_environment(control.tell_secret)
    from hfhooks.worker.compat import stand_in_for_huggingface_hub
    from hfhooks.worker.served import load_and_serve  # and pydantic, while no script is named yet

    stand_in_for_huggingface_hub()
    message = _prepared(control)
    gc.freeze()  # or the first look for cycles would be in all of that, while a script loads
    gc.enable()
    try:
        load_and_serve(message, control)
    except HfhooksError as error:
        control.report(
            FAILED,
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
    while (frame := control.receive()).kind == PRELOAD:
        message = message_from(frame)
        preload(Target.from_json(message["targets"][0]))
        _warm_up_spare(message.get("needs_fastapi", False))
        control.send(Frame(PRELOADED))
    if frame.kind != LOAD:  # to stop, and there is nothing to finish
        os._exit(0)
    return message_from(frame)


def _warm_up_spare(needs_fastapi: bool) -> None:
    from hfhooks.worker.warmup import warm_up_spare

    warm_up_spare(needs_fastapi)


def _end_with_the_gateway(pipe: int) -> None:
    """Have the kernel kill our group when the gateway is gone, whatever holds the interpreter."""
    # Unlike PR_SET_PDEATHSIG this is for the whole group, goes by the process that has started us
    # and not by its thread, and takes no `ctypes`. Forks keep it, other programs do not.
    import fcntl
    import select

    os.set_inheritable(pipe, False)
    with suppress(OSError):  # a sandbox without that: what follows the socket has to do
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(pipe, 0)  # which tells nothing but its end
    if poll.poll(0):
        os._exit(1)


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
