import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.dispatch.client import Response
from hfhooks.dispatch.verdict import LONGEST_PAUSE, MOST_CRASHES, Verdict, judge, pause
from hfhooks.journal.sqlite.records import Delivery


def delivery(failures: int = 0, crashes: int = 0) -> Delivery:
    return Delivery("train", 0.0, "", (), b"{}", failures=failures, crashes=crashes)


def answer(status: int, outcome: str | None = None, after: float | None = None) -> Response:
    headers = [] if outcome is None else [(b"hfhooks-outcome", outcome.encode())]
    if after is not None:
        headers.append((b"hfhooks-retry-after", str(after).encode()))
    return Response(status, headers)


SUCCEEDED = Verdict("succeeded", "succeeded")
FAILED = Verdict("failed", "failed")


@pytest.mark.parametrize(
    ("response", "failures", "verdict"),
    [
        (answer(200), 0, SUCCEEDED),
        (answer(302), 0, SUCCEEDED),
        (answer(404), 0, FAILED),
        (answer(503), 0, FAILED),
        (answer(422, "refused"), 0, FAILED),
        (answer(500, "discarded"), 0, FAILED),
        (answer(500, "raised"), 0, Verdict("failed", "retrying", 5)),
        (answer(500, "raised"), 1, Verdict("failed", "retrying", 30)),
        (answer(500, "raised"), 2, Verdict("failed", "retrying", 120)),
        (answer(500, "raised"), 3, Verdict("failed", "retrying", 600)),
        (answer(500, "raised"), 4, FAILED),
        (answer(500, "retry"), 0, Verdict("failed", "retrying", 5)),
        (answer(500, "retry", 60), 1, Verdict("failed", "retrying", 60)),
        (answer(500, "retry", 0), 1, Verdict("failed", "retrying", 0)),
        (answer(500, "retry", 60), 4, FAILED),
        (answer(500, "retry", 1e12), 0, Verdict("failed", "retrying", LONGEST_PAUSE)),
    ],
)
def test_what_an_answer_makes_of_a_delivery(
    response: Response, failures: int, verdict: Verdict
) -> None:
    assert judge(delivery(failures), response, retries=4, chance=0.5) == verdict


def test_without_retries_an_exception_is_final() -> None:
    assert judge(delivery(), answer(500, "raised"), retries=0, chance=0.5) == FAILED


def test_more_retries_go_on_with_the_longest_pause() -> None:
    verdict = judge(delivery(9), answer(500, "raised"), retries=10, chance=0.5)
    assert verdict.retry_after == 600


def test_a_delivery_whose_worker_dies_is_given_up_the_third_time() -> None:
    verdicts = [judge(delivery(crashes=number), None, 4, 0.5) for number in range(MOST_CRASHES)]
    queued = Verdict("crashed", "queued")
    assert verdicts == [queued, queued, Verdict("crashed", "failed")]


def test_crashes_use_up_no_retries() -> None:
    verdict = judge(delivery(failures=1, crashes=2), answer(500, "raised"), 2, 0.5)
    assert verdict.delivery == "retrying"


@given(failures=st.integers(0, 10), chance=st.floats(0, 1))
def test_a_pause_stays_within_a_fifth_of_the_usual(failures: int, chance: float) -> None:
    usual = pause(failures, 0.5)
    assert usual * 0.8 <= pause(failures, chance) <= usual * 1.2 + 1e-9
    assert pause(failures, chance) <= pause(failures + 1, chance)
