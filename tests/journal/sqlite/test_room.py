from pathlib import Path

import pytest

from hfhooks.errors import JournalFull
from hfhooks.journal.sqlite.room import Room


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.mark.parametrize(("least", "states"), [(0, []), (1 << 60, ["full"])])
def test_a_disk_is_looked_at_and_a_change_is_told_once(
    tmp_path: Path, told: list[str], least: int, states: list[str]
) -> None:
    room = Room(tmp_path / "journal.db", least, lambda condition: told.append(condition.state))
    assert [room.is_there() for _ in range(2)] == [least == 0] * 2
    assert told == states and bool(room.full) is bool(states)


def test_that_there_is_room_is_learned_from_what_is_written(
    tmp_path: Path, told: list[str]
) -> None:
    room = Room(tmp_path / "journal.db", 0, lambda condition: told.append(condition.state))
    for outcomes in ([1, 2], [JournalFull("no room."), 3], [JournalFull("no room.")], [4], [5]):
        room.learn(outcomes)
    assert told == ["full", "healthy"]


def test_of_a_folder_that_cannot_be_looked_at_sqlite_will_say_it(
    tmp_path: Path, told: list[str]
) -> None:
    room = Room(tmp_path / "gone" / "journal.db", 1 << 60, lambda _: None)
    assert room.is_there()
