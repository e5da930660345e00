"""A short campaign; `make powerloss` runs the long one."""

import pytest

from tests.campaigns.disk import why_not
from tests.campaigns.powerloss import campaign, campaign_again

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no power can be lost: {why_not()}")


def test_no_acknowledged_delivery_is_lost_with_the_power() -> None:
    report = campaign(150, seed=1)
    assert report.seen["acked"] > 200 and report.states == 150
    assert not report.lost and not report.unreadable, report


def test_no_acknowledged_delivery_is_lost_when_the_power_is_lost_again() -> None:
    report = campaign_again(60, seed=1)
    assert report.seen["acked"] > 100 and report.states == 60
    assert not report.lost and not report.unreadable, report


@pytest.mark.parametrize(("control", "states"), [("nosync", 30), ("early", 60), ("late", 250)])
def test_the_campaign_sees_what_an_acknowledgement_before_the_sync_loses(
    control: str, states: int
) -> None:
    assert campaign(states, seed=1, control=control).lost
