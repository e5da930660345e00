from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.dispatch.verdict import (
    LONGEST_PAUSE,
    WHY,
    attempt_of,
    judge,
    pause,
)
from hfhooks.model.delivery import MOST_CRASHES, Claim, Recorded, Verdict
from hfhooks.model.ending import Ending
from hfhooks.redact import redact


def claim(raised: int = 0, crashed: int = 0) -> Claim:
    return Claim(1, Recorded("train", 0.0, "", (), b"{}", raised=raised, crashed=crashed), 1, "")


def ending(kind: str, status: int = 500, **content: Any) -> Ending:
    return Ending(kind, status, **content)


SUCCEEDED = Verdict("succeeded", "succeeded")
REFUSED = Verdict("refused", "failed")
RAISED = Verdict("raised", "failed")


@pytest.mark.parametrize(
    ("ended", "raised", "verdict"),
    [
        (ending("answered", 200), 0, SUCCEEDED),
        (ending("answered", 302), 0, SUCCEEDED),
        (ending("unsendable", 200), 9, SUCCEEDED),
        (ending("answered", 404), 0, REFUSED),
        (ending("answered", 503), 0, REFUSED),
        (ending("refused", 422), 0, REFUSED),
        (ending("discarded"), 0, REFUSED),
        (ending("raised"), 0, Verdict("raised", "retrying", 5)),
        (ending("raised"), 1, Verdict("raised", "retrying", 30)),
        (ending("raised"), 2, Verdict("raised", "retrying", 120)),
        (ending("raised"), 3, Verdict("raised", "retrying", 600)),
        (ending("raised"), 4, RAISED),
        (ending("retry"), 0, Verdict("raised", "retrying", 5, is_pause_asked=True)),
        (ending("retry", retry_after=60), 1, Verdict("raised", "retrying", 60, True)),
        (ending("retry", retry_after=0), 1, Verdict("raised", "retrying", 0, True)),
        (ending("retry", retry_after=60), 4, RAISED),
        (ending("retry", retry_after=1e12), 0, Verdict("raised", "retrying", LONGEST_PAUSE, True)),
        (ending("cancelled"), 0, Verdict("cancelled", "cancelled")),
        (ending("interrupted"), 9, Verdict("interrupted", "queued")),
    ],
)
def test_what_an_ending_makes_of_a_delivery(ended: Ending, raised: int, verdict: Verdict) -> None:
    assert judge(claim(raised), ended, retries=4, chance=0.5) == verdict


def test_without_retries_an_exception_is_final() -> None:
    assert judge(claim(), ending("raised"), retries=0, chance=0.5) == RAISED


def test_more_retries_go_on_with_the_longest_pause() -> None:
    verdict = judge(claim(9), ending("raised"), retries=10, chance=0.5)
    assert verdict.retry_after == 600


def test_a_delivery_whose_worker_dies_is_given_up_the_third_time() -> None:
    died = ending("crashed")
    verdicts = [judge(claim(crashed=number), died, 4, 0.5) for number in range(MOST_CRASHES)]
    queued = Verdict("crashed", "queued")
    assert verdicts == [queued, queued, Verdict("crashed", "failed")]


def test_crashes_use_up_no_retries() -> None:
    assert judge(claim(raised=1, crashed=2), ending("raised"), 2, 0.5).status == "retrying"


@given(raised=st.integers(0, 10), chance=st.floats(0, 1))
def test_a_pause_stays_within_a_fifth_of_the_usual(raised: int, chance: float) -> None:
    usual = pause(raised, 0.5)
    assert usual * 0.8 <= pause(raised, chance) <= usual * 1.2 + 1e-9
    assert pause(raised, chance) <= pause(raised + 1, chance)


@pytest.mark.parametrize(
    ("ended", "http_status", "answer", "error"),
    [
        (ending("answered", 201, body=b"hf_abcdefghijklmnopqrstuvwxyz"), 201, b"***", None),
        (ending("raised", body=b"my-own-secret\xff"), 500, b"", "***\ufffd"),
        (ending("crashed", 0), None, b"", WHY["crashed"]),
        (ending("interrupted", 0), None, b"", WHY["interrupted"]),
    ],
)
def test_what_is_recorded_of_an_attempt_has_no_secrets(
    ended: Ending, http_status: int | None, answer: bytes, error: str | None
) -> None:
    redact.learn("my-own-secret")
    attempt = attempt_of(claim(), ended, judge(claim(), ended, 4, 0.5), 10.0, 2.5)
    assert (attempt.number, attempt.started_at, attempt.duration) == (1, 10.0, 2.5)
    assert (attempt.http_status, attempt.answer, attempt.error) == (http_status, answer, error)
