"""Where text goes: lines that cannot steer a terminal, in colour where it has some."""

import json
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, TextIO, TypeAlias, cast

from hfhooks.errors import DiskError, HfhooksError, ReaderGone
from hfhooks.redact import redact

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = [
    "COLOURS",
    "Part",
    "Screen",
    "Soon",
    "Steady",
    "at_once",
    "inert",
    "milliseconds",
    "not_taken",
    "safe",
    "throw_away",
]

Part: TypeAlias = str | tuple[str, str]
"""Text, or text with a style."""

MARKS = {
    "succeeded": "✓",
    "failed": "✗",
    "refused": "✗",
    "retrying": "↻",
    "queued": "…",
    "ignored": "·",
    "cancelled": "·",
    "duplicate": "·",
    "running": "…",
    "reloaded": "⟳",
    "up": "⟳",
}
PLAIN_MARKS = {
    "succeeded": "+",
    "failed": "x",
    "refused": "x",
    "retrying": "~",
    "queued": ".",
    "ignored": ".",
    "cancelled": ".",
    "duplicate": ".",
    "running": ".",
    "reloaded": "*",
    "up": "*",
}
COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "refused": "yellow",
    "retrying": "yellow",
    "reloaded": "cyan",
    "up": "cyan",
}
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that can steer a terminal, or hide what a text says."""
FORCED = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Variables by which colours are wanted where there is no terminal, as rich reads them."""


def safe(text: object, most: int = 200) -> str:
    """Return text from outside, cut to `most` characters, with control characters spelt out."""
    shown = str(text)
    if len(shown) <= most and shown.isprintable():
        return shown
    shown = redact(shown)[: most + 1]  # in this order: half a secret is not known for one
    if not shown.isprintable():
        shown = "".join(spelt(character) for character in shown)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def inert(text: str) -> str:
    """Return lines with control characters spelt out."""
    if text.isprintable():
        return text
    return "".join(character if character == "\n" else spelt(character) for character in text)


def spelt(character: str) -> str:
    """Return a character, or its number if it could steer a terminal."""
    if unicodedata.category(character) not in UNSAFE:
        return character
    number = ord(character)
    if number > 0xFFFF:
        return f"\\U{number:08x}"
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def milliseconds(seconds: float) -> str:
    """Return a duration as it is shown."""
    return f"{seconds * 1000:.0f} ms"


Soon: TypeAlias = Callable[[Callable[[], None]], object]
"""Has a call made before long, as by an event loop that has something else to do first."""


def at_once(call: Callable[[], None]) -> None:
    """Make a call now: nothing else is to be done."""
    call()


def throw_away(stream: IO[Any]) -> None:
    """Have what is still in the buffer of a stream go somewhere when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def not_taken(error: OSError) -> HfhooksError:
    """Return what it means that stdout has not taken something."""
    if isinstance(error, BrokenPipeError):
        return ReaderGone("nobody reads what is printed.")
    return DiskError(f"stdout: {error.strerror}")


class Steady:
    """A stream that stays open for us when nobody reads it any more: a server must not stop.

    Secrets are masked. What is written `later` is written with all else of the same moment, which
    `soon` ends.
    """

    def __init__(self, stream: TextIO, soon: Soon = at_once) -> None:
        self.error: OSError | None = None
        self._stream, self._soon = stream, soon
        self._held: list[str] = []
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        self._held.append(text)
        text = redact("".join(self._held))
        self._held.clear()
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def write_later(self, text: str) -> None:
        """Write something, in its order."""
        self._held.append(text)
        if len(self._held) == 1:
            self._soon(self._write_held)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _write_held(self) -> None:
        if self._held:
            self.write("")
            self.flush()

    def check(self) -> None:
        """Raise `DiskError` if something was not taken, `ReaderGone` if nobody reads."""
        if self.error:
            raise not_taken(self.error) from self.error

    def _give_up(self, error: OSError) -> None:
        self.error = error
        throw_away(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Screen:
    """A stream that lines are said on.

    Where these are what was asked for, `is_data`, `DiskError` is raised if they were not taken.
    """

    def __init__(self, stream: TextIO, is_data: bool = False, soon: Soon = at_once) -> None:
        self._stream = Steady(stream, soon)
        self._is_data = is_data
        self._rich = _rich(self._stream) if _may_have_colours(stream) else None
        rich = self._rich
        self._colours = rich.color_system if rich and not rich.no_color else None
        encoding = getattr(stream, "encoding", None) or ""
        self.marks: Mapping[str, str] = MARKS if encoding.lower()[:3] == "utf" else PLAIN_MARKS
        """What stands for each status."""

    @property
    def is_terminal(self) -> bool:
        return self._rich is not None and self._rich.is_terminal

    def line(self, *parts: Part) -> None:
        """Say one line, whole whatever others say at the same time."""
        self._write(self._text(parts))

    def line_later(self, *parts: Part) -> None:
        """Say one line of many, together with the others."""
        self._stream.write_later(self._text(parts))

    def _text(self, parts: Sequence[Part]) -> str:
        return "".join([self._styled(part) for part in parts]) + "\n"

    def in_place(self, text: str) -> None:
        """Show on a terminal what the next line takes the place of; elsewhere nothing."""
        if self._rich and self._stream.isatty() and not self._rich.is_dumb_terminal:
            self._write(f"{safe(text)}\x1b[K\r")

    def answer(self, text: str) -> None:
        """Show JSON in colours, on lines of its own; other text as it is, but inert."""
        try:
            shown = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
        except (ValueError, RecursionError):
            self.line(safe(text, 10_000))
            return
        # What steers a terminal becomes JSON's own escapes: what is shown is the same JSON.
        shown = "".join(c if c == "\n" or spelt(c) == c else json.dumps(c)[1:-1] for c in shown)
        if not (self._rich and self._colours):
            self.line(shown)
            return
        from rich.highlighter import JSONHighlighter

        self._rich.print(JSONHighlighter()(shown), soft_wrap=True)
        if self._is_data:
            self._stream.check()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
        if self._is_data:
            self._stream.check()

    def _styled(self, part: Part) -> str:
        text, style = (part, "") if isinstance(part, str) else part
        text = inert(text)
        if not (style and self._colours):
            return text
        # rich's own way to print takes longer than all else that is done for a delivery.
        from rich.console import COLOR_SYSTEMS
        from rich.style import Style

        return Style.parse(style).render(text, color_system=COLOR_SYSTEMS[self._colours])


def _may_have_colours(stream: TextIO) -> bool:
    return stream.isatty() or any(name in os.environ for name in FORCED)


def _rich(stream: Steady) -> "RichConsole":
    from rich.console import Console as RichConsole  # takes longer to import than most commands

    # In a notebook, too, lines are lines, in whatever thread they are said.
    return RichConsole(file=cast("TextIO", stream), force_jupyter=False)
