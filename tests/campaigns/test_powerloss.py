"""A short campaign; `make powerloss` runs the long one."""

import pytest

from tests.campaigns.disk import why_not
from tests.campaigns.powerloss import campaign

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no power can be lost: {why_not()}")


def test_no_acknowledged_delivery_is_lost_with_the_power() -> None:
    report = campaign(150, "FULL", seed=1)
    assert report.seen["acked"] > 200 and report.states == 150
    assert not report.lost and not report.unreadable, report


def test_the_campaign_sees_what_an_acknowledgement_before_the_sync_loses() -> None:
    assert campaign(30, "NORMAL", seed=1).lost
