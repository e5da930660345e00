"""What commands print: what was asked for on stdout, everything else on stderr."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hfhooks.console.terminal import (
    COLOURS,
    Screen,
    Steady,
    inert,
    milliseconds,
    not_taken,
    safe,
    throw_away,
)
from hfhooks.errors import Fault, HfhooksError
from hfhooks.redact import redact
from hfhooks.tracebacks import whole_traceback

if TYPE_CHECKING:
    from hfhooks.model.sending import Sent

__all__ = [
    "print_data",
    "print_error",
    "print_note",
    "print_sent",
    "progress",
    "say_error",
    "say_note",
    "say_trace",
    "write_data",
]


def print_data(line: str) -> None:
    """Print one line of what was asked for, on stdout. Raises `DiskError` if it was not taken."""
    stdout = Steady(sys.stdout)
    print(line, file=stdout, flush=True)  # printing is what this module is for
    stdout.check()


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Say on a terminal what is being done, for as long as it takes."""
    screen = Screen(sys.stderr)
    screen.in_place(text)
    try:
        yield
    finally:
        screen.in_place("")


def write_data(content: bytes) -> None:
    """Write what was asked for on stdout as it is, nothing masked; a terminal is not steered by it.

    Raises `DiskError`.
    """
    if sys.stdout.isatty():
        content = inert(content.decode(errors="backslashreplace")).encode(errors="replace")
    stream = sys.stdout.buffer
    try:
        stream.write(content)
        stream.flush()
    except OSError as error:
        throw_away(stream)
        raise not_taken(error) from error


def print_error(error: HfhooksError) -> None:
    """Say what went wrong and what to do, in a line each, on stderr."""
    say_error(Screen(sys.stderr), error)


def say_error(screen: Screen, error: HfhooksError) -> None:
    """Say what went wrong, and what to do."""
    if isinstance(error, Fault):
        say_trace(screen, whole_traceback(error.error))
    screen.line(("error: ", "bold red"), safe(error, 1000))
    say_trace(screen, getattr(error, "traceback", []))
    if error.help:
        screen.line(("help: ", "bold cyan"), safe(error.help, 1000))


def print_note(text: str) -> None:
    """Say something that a person should know, on stderr."""
    say_note(Screen(sys.stderr), text)


def say_note(screen: Screen, text: str) -> None:
    """Say something that a person should know."""
    screen.line(("note: ", "bold yellow"), safe(text, 1000))


def print_sent(sent: "Sent") -> None:
    """Show what became of what was sent: a line on stderr, the handler's answer on stdout."""
    screen = Screen(sys.stderr)
    mark = f"{screen.marks[sent.status]} {sent.http_status} {sent.status}"
    line = f"  {sent.endpoint}  {milliseconds(sent.seconds)}"
    line += f"  #{sent.id}" if sent.id else ""
    screen.line((mark, COLOURS.get(sent.status, "")), safe(line))
    if sent.status == "ignored":
        more = f" All of it: hfhooks explain {sent.id}" if sent.id else ""
        say_note(screen, f"its filter does not match: {sent.why}.{more}")
    elif sent.why:
        screen.line((f"    {safe(sent.why, 500)}", COLOURS.get(sent.status, "")))
        if sent.id:
            say_note(screen, f"all of it: hfhooks deliveries show {sent.id}")
    text = redact(sent.body.decode(errors="replace"))  # before colours may part a secret
    if not sys.stdout.isatty():
        print_data(text)
    elif text:
        Screen(sys.stdout, is_data=True).answer(text)


def say_trace(screen: Screen, lines: Sequence[str]) -> None:
    """Show how it came to that."""
    if lines:
        screen.line(("\n".join("    " + safe(line, 500) for line in lines), "red"))
