from dataclasses import replace

import pytest

from hfhooks.console.tables import print_delivery
from tests.console.examples import ATTEMPT, DELIVERY, FAILED


def test_what_several_attempts_have_come_to_stands_once_below_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = replace(FAILED, error="Traceback:\nValueError: no\n")
    other = replace(broken, number=4, error="Traceback:\nKeyError: 'a'\n")
    attempts = [*(replace(broken, number=number) for number in (1, 2, 3)), other]
    print_delivery(DELIVERY, [*attempts, replace(ATTEMPT, number=5, answer=b"1")])
    shown = capsys.readouterr().out.splitlines()
    start = next(at for at, line in enumerate(shown) if line.startswith("attempt 1"))
    assert [line.split("  ")[0] if "attempt" in line else line for line in shown[start:]] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
        "    Traceback:",
        "    ValueError: no",
        "",
        "attempt 4",
        "    Traceback:",
        "    KeyError: 'a'",
        "",
        "attempt 5",
        "    1",
    ]


def test_what_an_attempt_has_come_to_is_in_colour(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_delivery(DELIVERY, [FAILED, replace(ATTEMPT, number=2)])
    raised, succeeded = (line for line in capsys.readouterr().out.splitlines() if "attempt" in line)
    assert "\x1b[31mraised 500" in raised and "\x1b[32msucceeded 200" in succeeded
