"""A short campaign; `make faults` runs the long one."""

import errno
from collections.abc import Sequence

import pytest

from hfhooks.journal import open_journal, url_of
from tests.campaigns.disk import operations, watching, why_not, workspace
from tests.campaigns.driver import JOURNAL, drive
from tests.campaigns.faults import (
    DATABASE,
    LOG,
    LOST_WITH_THE_POWER,
    WENT_ON,
    Fault,
    Run,
    campaign,
    strike,
)
from tests.harness import copy_folder
from tests.journal.engines import record

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=f"no disk can fail: {why_not()}"),
    pytest.mark.usefixtures("unmeasured"),
]


@pytest.fixture(scope="module")
def runs(unmeasured: None) -> Sequence[Run]:
    return campaign(32, seed=1)


def test_a_disk_that_fails_takes_no_acknowledged_delivery_with_it(runs: Sequence[Run]) -> None:
    assert sum(run.counts["failed"] > 0 for run in runs) > 24
    wrong = {str(run.fault): run.wrong for run in runs if run.wrong.keys() - {WENT_ON}}
    assert not wrong


def test_nothing_is_acknowledged_after_a_failed_sync(runs: Sequence[Run]) -> None:
    assert not [str(run.fault) for run in runs if WENT_ON in run.wrong]


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_journal_that_cannot_switch_to_the_write_ahead_log_is_not_used(operation: str) -> None:
    fault = Fault(operation, DATABASE, errno.EIO, "once", at=1)
    with workspace() as (folder, library):
        run = strike(folder, library, "", fault)
    assert run.counts["failed"] == 1 and run.counts["sent"] == 0 and not run.wrong


@pytest.mark.parametrize("fault", ["", f"sync {LOG} 1 {errno.EIO} once"])
async def test_what_a_killed_process_has_left_is_synced_before_anything_else(fault: str) -> None:
    """Or a power loss could take what the next one has acted upon."""
    with workspace() as (folder, library):
        root, log = folder / "disk", folder / "log"
        journal = open_journal(url_of(folder / "whole" / JOURNAL))
        await record(journal)
        copy_folder(folder / "whole", root)  # what is in the files is what a kill leaves
        await journal.close()
        inodes = [(root / JOURNAL).with_name(name).stat().st_ino for name in (LOG, DATABASE)]
        assert not drive(root, watching(library, root, log, fault), [1])
        history = list(operations(log))
    first = next(operation for operation in history if operation.inode in inodes)
    assert (first.name, first.inode) == ("failed-sync" if fault else "syncing", inodes[0])
    assert [each.name for each in history].count("sent") == (0 if fault else 1)


def test_the_campaign_sees_what_an_acknowledgement_before_the_sync_loses() -> None:
    assert any(LOST_WITH_THE_POWER in run.wrong for run in campaign(4, seed=1, control="nosync"))
