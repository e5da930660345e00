from pathlib import Path

import pytest

from tests.campaigns.crash import ACKNOWLEDGE_FIRST, campaign
from tests.harness import COMMAND

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_no_kill_loses_what_was_acknowledged(tmp_path: Path) -> None:
    books = campaign(tmp_path, cycles=9, parallel=3, seed=1, command=COMMAND)
    assert books.acknowledged and books.interrupted
    assert books.is_fine, books


def test_a_server_that_acknowledges_first_is_found_out(tmp_path: Path) -> None:
    books = campaign(tmp_path, cycles=3, parallel=3, seed=1, command=ACKNOWLEDGE_FIRST)
    assert books.recorded and books.lost and not books.is_fine
