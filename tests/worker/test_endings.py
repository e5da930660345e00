"""What is told of an exception has a size."""

import pytest

from hfhooks.model.ending import DISCARDED, RAISED, RETRY
from hfhooks.redact import redact
from hfhooks.script.author import Discard, Retry
from hfhooks.tracebacks import MOST_TEXT
from hfhooks.worker.endings import ending_of, reasons


@pytest.mark.parametrize(
    "text", ["x" * 10_000_000, "é" * 60_000, "🐕" * 20_000, "\ud800" * 20_000], ids=len
)
@pytest.mark.parametrize(
    ("of", "kind"),
    [
        (ValueError, RAISED),
        (Discard, DISCARDED),
        (lambda text: Retry(text, after=1), RETRY),
    ],
    ids=["raised", "discarded", "retry"],
)
def test_a_long_text_is_told_by_its_ends(of: type[Exception], kind: str, text: str) -> None:
    ending = ending_of(of(f"it begins {text} it ends"))
    assert ending.kind == kind and len(ending.body) <= MOST_TEXT
    told = ending.body.decode()
    assert "it begins" in told and told.strip().endswith("it ends")
    assert "here a part is left out" in told


def test_what_is_not_too_long_is_told_whole() -> None:
    text = "é" * (MOST_TEXT // 2)
    assert ending_of(Discard(text)).body == text.encode()


def test_no_part_of_a_secret_is_told_where_a_text_is_cut() -> None:
    redact.learn("canary-that-is-cut-in-two")
    for size in range(30):
        ending = ending_of(Discard("x" * size + "canary-that-is-cut-in-two " * 40_000 + "x" * size))
        told = redact(ending.body).decode().split("… here a part is left out …")
        assert not [part for part in told if "canary" in part or "in-two" in part]


def test_an_error_that_is_raised_from_another_is_bounded_with_it() -> None:
    try:
        try:
            raise KeyError("x" * 1_000_000)
        except KeyError as error:
            raise ValueError("y" * 1_000_000) from error
    except ValueError as error:
        assert len(ending_of(error).body) <= MOST_TEXT


def test_reasons_are_bounded() -> None:
    errors = [{"loc": ("a", number), "msg": "no integer"} for number in range(100_000)]
    body = reasons(errors)
    assert len(body) <= MOST_TEXT and body.endswith(b"a.99999: no integer")
