"""Runs `hfhooks` in processes that are forked from one that has imported it all before.

A command or a worker takes most of its time to import what it needs, and the tests start hundreds.
A forked one is a process all the same, a child of the one that started it, with its own files,
environment, signals and exit code. Where that cannot be, Python is started.
"""

import atexit
import ctypes
import gc
import io
import json
import marshal
import os
import runpy
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl, ioctl
from importlib import import_module
from inspect import signature
from pathlib import Path
from platform import machine
from types import ModuleType
from typing import Any, TextIO, TypedDict

import coverage

from hfhooks.redact import redact

__all__ = ["CAN_FORK", "NAME", "Forked", "take_terminal"]

CLONE = {"x86_64": 56, "aarch64": 220}
"""The number of the system call, by machine."""
CLONE_PARENT = 0x8000
CAN_FORK = sys.platform == "linux" and machine() in CLONE
NAME = "zygote"
"""The name of the process, for who looks at children."""
COMM = Path("/proc/self/comm")
OWN_NAME = COMM.read_text().strip() if CAN_FORK else ""
OF_PYTHON = ("PYTHON", "LANG", "LC_", "LD_", "COVERAGE")
"""How variables begin that count when Python starts."""


def of_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(OF_PYTHON)}


AT_START = of_python(os.environ)
KNOWN = ("hfhooks", "ipykernel_launcher", "uvicorn")
"""The packages that can be run."""
UNSET = {
    "executable": (None,),
    "shell": (False,),
    **dict.fromkeys(("gid", "gids", "uid"), (None,)),
    **dict.fromkeys(("umask", "process_group"), (-1,)),
}
"""What of `Popen` a zygote cannot do, and how it is not asked for."""


PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
"""Both ends of each, as `Popen` names them."""


def take_terminal() -> None:
    """Make stdin the terminal of this session; as `preexec_fn` a zygote does it, too."""
    ioctl(0, termios.TIOCSCTTY, 0)


class Work(TypedDict):
    """What a forked process is to do."""

    module: str
    is_safe_path: bool
    arguments: list[str]
    env: dict[str, str]
    cwd: str
    blocked: list[int]
    has_own_session: bool
    takes_terminal: bool
    passed: list[int]


class Zygote:
    """The process that is forked, as its parent holds it; it starts when it is needed."""

    def __init__(self, *imported: str) -> None:
        self._imported = imported
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start Python for it."""
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote", str(its.fileno()), *self._imported],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=Path(__file__).parents[1],
                env={"PATH": os.environ["PATH"], **AT_START},
                pass_fds=[its.fileno()],
            )
        self._socket = ours
        atexit.register(self.end)

    def end(self) -> None:
        """Let it end, once nobody needs it."""
        assert self._socket and self._process
        self._socket.close()
        self._process.wait()

    def branch_off(self) -> None:
        """Fork it from this process, which has not begun anything yet."""
        self._socket, its = socket.socketpair()
        COMM.write_text(NAME)  # from the first moment on
        if os.fork() == 0:
            self._socket.close()
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            os.close(null)
            become(*asked(high(its.detach())))
        COMM.write_text(OWN_NAME)
        its.close()

    def fork(self, work: Work, files: list[int]) -> int:
        """Return the process of a child of ours that does this, 0 where there can be none."""
        with self._lock:
            if self._socket is None:
                self.start()
            assert self._socket
            file = os.memfd_create("work")
            try:
                os.write(file, json.dumps(work).encode())
                socket.send_fds(self._socket, [b"x"], [*files, file])
            finally:
                os.close(file)
            return int.from_bytes(self._socket.recv(4), "little")


class Forked(subprocess.Popen[Any]):
    """A process that is forked, if it is `python -m hfhooks`, a worker or uvicorn."""

    zygote = Zygote()

    def _execute_child(self, *given: Any) -> None:
        start: Any = super()._execute_child  # type: ignore[misc] # it has no public part for this
        options = signature(start).bind(*given).arguments
        work = work_of(**options)
        streams = [options[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        inherited = [number if file == -1 else file for number, file in enumerate(streams)]
        if work is None or (pid := self.zygote.fork(work, [*inherited, *work["passed"]])) == 0:
            start(*given)
            return
        self.pid, self._child_created = pid, True
        self._close_pipe_fds(*(options[name] for name in PIPES))  # type: ignore[attr-defined] # nor for this


def work_of(
    args: Any,
    env: Mapping[str, str] | None,
    cwd: Any,
    preexec_fn: Any,
    start_new_session: bool,
    pass_fds: Collection[int],
    **options: Any,
) -> Work | None:
    """Return what `Popen` is asked for, None if that is not for a zygote."""
    match args:
        case [sys.executable, "-m", module, *arguments]:
            is_safe_path = False
        case [sys.executable, "-P", "-m", module, *arguments]:
            is_safe_path = True
        case _:
            return None
    is_plain = all(options[name] in values for name, values in UNSET.items())
    env = os.environ if env is None else env
    is_plain = is_plain and all(number < HIGH for number in pass_fds)
    is_known = module.partition(".")[0] in KNOWN and of_python(env) == AT_START
    folder = Path(cwd or ".").absolute()
    is_plain = is_plain and preexec_fn in (None, take_terminal) and folder.is_dir()
    if not (CAN_FORK and is_plain and is_known):
        return None
    return Work(
        module=module,
        is_safe_path=is_safe_path,
        arguments=arguments,
        env=dict(env),
        cwd=str(folder),
        blocked=[int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        has_own_session=start_new_session,
        takes_terminal=preexec_fn is take_terminal,
        passed=sorted(pass_fds),
    )


IMPORTED = (
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "difflib",
    "encodings.idna",
    "filelock",
    "hfhooks.cli.commands.deliveries.change",
    "hfhooks.cli.commands.deliveries.listing",
    "hfhooks.cli.commands.print_urls",
    "hfhooks.cli.commands.replay",
    "hfhooks.cli.commands.serve",
    "hfhooks.cli.commands.trigger",
    "hfhooks.cli.main",
    "hfhooks.journal.sqlite.journal",
    "hfhooks.journal.sqlite.reading",
    "hfhooks.serving.asgi",
    "hfhooks.serving.offline",
    "hfhooks.serving.program",
    "hfhooks.tunnels.probe",
    "hfhooks.tunnels.programs",
    "hfhooks.worker.app",
    "hfhooks.worker.compat",
    "hfhooks.worker.control",
    "hfhooks.worker.preload",
    "hfhooks.worker.rendering",
    "hfhooks.worker.served",
    "hfhooks.worker.site",
    "hfhooks.worker.warmup",
    "httpx2",
    "pydantic.v1",
    "rich.console",
    "typer._adapters",
    "typer._click.decorators",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "yaml",
)
"""What commands and workers import anyway, and what does not depend on the environment."""
HAVE_WORKERS = {"doctor", "explain", "replay", "serve"}
"""Commands that start workers."""
HIGH = 300
"""Where a zygote has its own files: what is forked gets others under the numbers they had."""
DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What comes to all of a terminal or a group, and is not for a zygote."""


def main() -> None:
    number, *imported = sys.argv[1:]
    for name in (*IMPORTED, *imported):
        import_module(name)
    for name in ("tests", "tests.zygote"):
        sys.modules.pop(name, None)
    del sys.path[0]
    measured = coverage.Coverage.current()
    executed = Executed(measured) if measured else None
    gc.freeze()
    become(*asked(high(int(number)), executed))


class Executed:
    """What coverage has seen of all that was forked; the first zygote saves it when it ends.

    Each could save its own, and most commands would take twice as long.
    """

    def __init__(self, measured: coverage.Coverage) -> None:
        measured.save()  # what was executed here
        assert measured._collector
        self._measured = measured
        self._lines = measured._collector.data
        for lines in self._lines.values():
            lines.clear()
        measured._auto_save = False
        file = os.memfd_create("executed")
        self._file = fcntl(file, F_DUPFD_CLOEXEC, HIGH)
        os.close(file)
        atexit.register(self._add)

    def _add(self) -> None:
        lines = {file: lines.copy() for file, lines in self._lines.copy().items()}
        os.write(self._file, marshal.dumps(lines))

    def save(self) -> None:
        with os.fdopen(self._file, "rb") as said, suppress(EOFError):
            said.seek(0)
            while True:
                for file, lines in marshal.load(said).items():
                    self._lines.setdefault(file, set()).update(lines)
        self._measured.save()


def high(number: int) -> socket.socket:
    """Return a socket under another number, out of the way."""
    with socket.socket(fileno=number):
        return socket.socket(fileno=fcntl(number, F_DUPFD_CLOEXEC, HIGH))


def asked(
    sock: socket.socket, executed: Executed | None = None
) -> tuple[Work, list[int], socket.socket]:
    """Fork for whoever is at the other end, until there is nobody; return in what is forked."""
    COMM.write_text(NAME)
    heard = {number: signal.signal(number, signal.SIG_IGN) for number in DEAF}
    while True:
        word, files, _, _ = socket.recv_fds(sock, 1, 9)
        if not word:
            if executed:
                executed.save()
            os._exit(0)
        *given, file = files
        if (pid := fork_for_parent()) == 0:
            break
        for each in files:
            os.close(each)
        if pid < 0:
            sock.sendall(bytes(4))
    with os.fdopen(file, "rb") as said:
        said.seek(0)
        work: Work = json.load(said)
    signal.pthread_sigmask(signal.SIG_SETMASK, work["blocked"])
    for number, handler in heard.items():
        signal.signal(number, handler)
    COMM.write_text(OWN_NAME)
    return work, given, sock


def fork_for_parent() -> int:
    """Fork a child of our parent; below zero if that cannot be."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid: int = python.syscall(CLONE[machine()], CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return pid


def reopened(old: Any, number: int) -> TextIO:
    """Return a standard stream, as Python has it, for what is there now."""
    is_plain = isinstance(old.buffer, io.RawIOBase)  # as PYTHONUNBUFFERED wants it
    buffer: Any = os.fdopen(number, f"{old.mode}b", 0 if is_plain else -1, closefd=False)
    (buffer if is_plain else buffer.raw).name = old.name
    has_lines = not is_plain and (buffer.isatty() or number == 2)
    stream: Any = io.TextIOWrapper(
        buffer, old.encoding, old.errors, "\n", has_lines, old.write_through
    )
    stream.mode = old.mode
    return stream  # type: ignore[no-any-return] # mode is what it has not by itself


def say_who_we_are(sock: socket.socket) -> None:
    with sock:
        try:
            sock.sendall(os.getpid().to_bytes(4, "little"))
        except BrokenPipeError:  # who has asked was ended meanwhile
            os._exit(0)


def renumber(given: list[int], numbers: list[int]) -> None:
    files = [fcntl(number, F_DUPFD_CLOEXEC, HIGH) for number in given]
    for number in given:
        os.close(number)
    for file, number in zip(files, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def become(work: Work, given: list[int], sock: socket.socket) -> None:
    """Be `python -m MODULE`, and say so."""
    renumber(given, [0, 1, 2, *work["passed"]])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = reopened(getattr(sys, name), number)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if work["has_own_session"]:
        os.setsid()
    if work["takes_terminal"]:
        take_terminal()
    os.environ.clear()
    os.environ.update(work["env"])
    time.tzset()
    redact.learn_environment()
    os.chdir(work["cwd"])
    if not work["is_safe_path"]:
        sys.path.insert(0, str(Path.cwd()))
    sys.argv[1:] = work["arguments"]
    if work["module"] == "hfhooks" and HAVE_WORKERS.intersection(work["arguments"][:1]):
        Forked.zygote = Zygote()
        Forked.zygote.branch_off()
        subprocess.Popen = Forked  # type: ignore[misc] # for its workers
    say_who_we_are(sock)
    main = ModuleType("__main__")
    for name in {"__main__", "__mp_main__"}.intersection(sys.modules):
        sys.modules[name] = main
    code = 0
    try:
        runpy._run_module_as_main(work["module"])  # type: ignore[attr-defined] # so does Python
    except SystemExit as exit:
        if exit.code is not None and not isinstance(exit.code, int):
            raise
        code = exit.code or 0
    leave(code)


def leave(code: int) -> None:
    """End this process as Python does, but for freeing its memory piece by piece."""
    threading._shutdown()  # type: ignore[attr-defined] # multiprocessing does so, too
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # Python says what is wrong with them
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
