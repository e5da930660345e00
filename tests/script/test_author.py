from datetime import UTC
from fractions import Fraction

import pytest

from hfhooks import Delivery, Retry


def test_a_delivery_knows_when_it_came() -> None:
    assert Delivery().received_at.tzinfo is UTC


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_retry_is_in_the_future(after: float) -> None:
    with pytest.raises(ValueError, match="takes seconds from now on"):
        Retry(after=after)


def test_a_retry_has_its_reason() -> None:
    retry = Retry("the machine is busy", after=60)
    assert (str(retry), retry.after) == ("the machine is busy", 60)
    assert Retry().after is None


def test_a_retry_takes_any_number() -> None:
    assert Retry(after=Fraction(1, 2)).after == 0.5  # type: ignore[arg-type] # numpy's are as odd


def test_a_retry_of_ones_own_need_not_call_ours() -> None:
    class Busy(Retry):
        def __init__(self, who: str) -> None:
            self.who = who

    assert Busy("gpu").after is None
