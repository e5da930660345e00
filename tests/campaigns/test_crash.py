from pathlib import Path

import pytest

from tests.campaigns.crash import ACKNOWLEDGE_FIRST, campaign
from tests.harness import COMMAND

pytestmark = pytest.mark.usefixtures("unmeasured")
LATE = 20
"""A seed with which the first kills of a gateway come late, when much is acknowledged."""


def test_no_kill_loses_what_was_acknowledged(tmp_path: Path) -> None:
    books = campaign(tmp_path, cycles=9, parallel=3, seed=1, command=COMMAND)
    assert books.acknowledged and books.interrupted
    assert books.is_fine, books


def test_a_server_that_acknowledges_first_is_found_out(tmp_path: Path) -> None:
    books = campaign(tmp_path, cycles=3, parallel=3, seed=LATE, command=ACKNOWLEDGE_FIRST)
    assert books.lost and not books.is_fine
