import io
import re
import unicodedata
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.console.terminal import Screen, safe
from hfhooks.redact import redact


class Terminal(io.StringIO):
    """What a person looks at."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget how this machine wants its colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@given(st.text())
def test_what_is_shown_can_always_be_shown(text: str) -> None:
    shown = safe(text, 50)
    assert len(shown) <= 50 or len(text) <= 50
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_half_a_secret_is_none_that_is_shown() -> None:
    secret = 'canary/"in the mine"'
    redact.learn(secret)
    assert safe("x" * 190 + secret) == "x" * 190 + "***"
    assert safe("\n" * 50 + "x" * 40 + secret, 110).endswith("…")
    assert "can" not in safe("\n" * 20 + "x" * 15 + secret, 100)


def test_long_text_is_cut_and_says_so() -> None:
    assert safe("x" * 300) == "x" * 199 + "…"
    assert safe("x" * 200) == "x" * 200


def said(stream: TextIO) -> str:
    Screen(stream).line("a ", ("b", "bold red"), " c")
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_terminal_has_colours() -> None:
    assert said(Terminal()) == "a \x1b[1;31mb\x1b[0m c\n"


def test_a_pipe_has_none_and_a_person_may_want_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(io.StringIO()) == "a b c\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert said(Terminal()) == "a b c\n"


def test_a_pipe_has_some_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert said(io.StringIO()) == "a \x1b[1;31mb\x1b[0m c\n"


def test_what_is_in_place_is_for_terminals_alone() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        Screen(stream).in_place("50 %")
    assert (terminal.getvalue(), pipe.getvalue()) == ("50 %\x1b[K\r", "")


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ('{"a":1}', '{\n  "a": 1\n}\n'),
        ('{"a": "\\u001b]0;x\\u202e"}', '{\n  "a": "\\u001b]0;x\\u202e"\n}\n'),
        ('"\\udb40\\udc41\\u007f"', '"\\udb40\\udc41\\u007f"\n'),
        ("no JSON \x1b[2J", "no JSON \\x1b[2J\n"),
        ("no JSON \U000e0041", "no JSON \\U000e0041\n"),
    ],
)
def test_an_answer_is_shown_as_it_is_and_inert(
    answer: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for stream in (Terminal(), io.StringIO()):
        Screen(stream).answer(answer)
        assert stream.getvalue() == shown


def test_an_answer_has_colours_on_a_terminal() -> None:
    terminal = Terminal()
    Screen(terminal).answer('{"a": 1}')
    assert "\x1b[" in terminal.getvalue()


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
@given(text=st.text())
def test_no_part_of_a_line_steers_a_terminal(stream: type[io.StringIO], text: str) -> None:
    shown = stream()
    Screen(shown).line(text, (text, "bold"))
    left = re.sub("\x1b\\[(1|0)m|\n", "", shown.getvalue())
    assert not [c for c in left if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
