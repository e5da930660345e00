"""What can go wrong in words a person can act on; each kind has its exit code."""

from pathlib import Path

REPORT = "This is a fault in hfhooks itself. Please report it, with the lines above."


class HfhooksError(Exception):
    """Something a person must know, said in one line, with the next step as `help`."""

    exit_code = 1

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help
        if help:
            self.add_note(f"help: {help}")  # for tracebacks, where no command line catches it


class UsageError(HfhooksError):
    """The command line or a setting is wrong."""

    exit_code = 2


class StartError(HfhooksError):
    """The server cannot start, or there is none to talk to."""

    exit_code = 3


class LoadError(StartError):
    """A script cannot be loaded; `file` and `line` say where, `traceback` how it came to that."""

    def __init__(
        self,
        message: str,
        help: str | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message, help)
        self.file = file
        self.line = line
        self.traceback: list[str] = []

    @property
    def reason(self) -> str:
        """The message without the place."""
        return str(self).removeprefix(f"{place(self.file, self.line)}: " if self.file else "")


class EndpointError(LoadError, ValueError):
    """An endpoint is declared wrongly. A `ValueError`, as in huggingface_hub."""


class SecretError(HfhooksError):
    """A webhook secret that cannot protect anything."""

    exit_code = 4


class TunnelError(HfhooksError):
    """The internet cannot reach this machine."""

    exit_code = 5


class CredentialsError(TunnelError):
    """Who runs the tunnel does not let us in."""

    exit_code = 4


class MachineError(HfhooksError):
    """The machine does not give what is needed: files, memory, processes."""

    exit_code = 5

    @classmethod
    def of(cls, error: OSError) -> "MachineError":
        """Say in words what nobody closer to it has."""
        where = f"{error.filename}: " if error.filename else ""
        return cls(f"{where}{(error.strerror or str(error)).lower()}.")


class JournalError(HfhooksError):
    """The journal cannot be opened or read, or is damaged."""

    exit_code = 3


class JournalTaken(JournalError):
    """Another process has the journal."""


class JournalFull(JournalError):
    """There is no room to record anything, for now."""

    exit_code = 5


class BacklogFull(JournalFull):
    """Too much waits for the handlers of an endpoint, for now."""


class JournalAway(JournalError):
    """Another program has the journal locked, for now."""


class DiskError(JournalError):
    """The disk failed, so nothing more may be acknowledged."""

    exit_code = 5


class JournalFault(JournalError):
    """Something of ours has failed, so that this could not be recorded; `error` is what it was."""

    exit_code = 70

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"a fault in the journal: {type(error).__name__}: {error}.", REPORT)
        self.error = error


class ReaderGone(DiskError):
    """Nobody reads what is printed any more, as after `| head`."""

    exit_code = 0


class Fault(HfhooksError):
    """Something of ours has failed in a way that nobody foresaw."""

    exit_code = 70

    def __init__(self, part: str, error: BaseException) -> None:
        super().__init__(f"a fault in {part}: {type(error).__name__}: {error}.", REPORT)
        self.error = error


def place(file: str, line: int | None = None) -> str:
    """Return `file:line`, the file relative to the working folder if it lies below it."""
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}" if line else str(path)
