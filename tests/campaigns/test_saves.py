from pathlib import Path

from tests.campaigns.saves import campaign


def test_no_save_loses_a_delivery_or_has_it_handled_twice(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, saves=40, seed=7)
    assert outcome.reloads[True] > 1  # of saves that come quickly, a busy machine loads the last
    assert outcome.is_fine, outcome
