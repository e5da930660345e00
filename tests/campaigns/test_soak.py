"""A short campaign; `make soak` runs the long one."""

from pathlib import Path

import pytest

from tests.campaigns.soak import BLOWS, campaign

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_no_kill_stop_or_save_loses_an_acknowledged_delivery_or_has_it_stuck(
    tmp_path: Path,
) -> None:
    books = campaign(tmp_path, seconds=8, seed=1)
    assert books.acknowledged and books.samples
    assert {f"blows by {kind}" for kind in BLOWS} <= books.events.keys()
    assert books.is_fine, (books, books.lost, books.stuck, books.wrong)
