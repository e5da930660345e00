"""What waits for a handler, and what of it is taken."""

from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from hfhooks.journal.due import MOST_BYTES, Due, Waiting
from hfhooks.model.delivery import Recorded
from tests.journal.engines import NEW

ENDPOINTS = ("train", "deploy")
ROOM = {"train": 99, "deploy": 99}


def waiting(id: int, since: float = 0.0, endpoint: str = "train", suspect: bool = False) -> Waiting:
    return Waiting(since, id, endpoint, suspect)


def due(*all: Waiting) -> Due:
    found = Due()
    for each in all:
        found.add(each)
    return found


def taken(due: Due, room: dict[str, int] = ROOM, now: float = 0.0) -> list[int]:
    return [each.id for each in due.take(room, now)]


def suspect(due: Due, room: dict[str, int] = ROOM, now: float = 0.0) -> int | None:
    found = due.suspect(room, now)
    return found.id if found else None


@given(st.permutations([waiting(1, 5.0), waiting(2, 5.0, "deploy"), waiting(4, 1.0), waiting(3)]))
def test_they_come_by_time_then_by_arrival_whatever_their_endpoint(all: list[Waiting]) -> None:
    assert taken(due(*all)) == [3, 4, 1, 2]


def in_turn(all: list[Waiting], room: dict[str, int]) -> list[int]:
    """Return what is to be taken of a list, as the journal's Protocol says it."""
    left, found = dict(room), []
    for each in sorted(all):
        if left.get(each.endpoint, 0) > 0 and not each.is_suspect:
            left[each.endpoint] -= 1
            found.append(each.id)
    return found


SOME = st.tuples(st.integers(0, 3).map(float), st.sampled_from(ENDPOINTS), st.booleans())
ROOMS = st.dictionaries(st.sampled_from(ENDPOINTS), st.integers(0, 4))


@given(st.lists(SOME, max_size=12), st.lists(ROOMS, max_size=4))
def test_what_is_taken_is_what_comes_next_of_all_that_wait(
    some: list[tuple[float, str, bool]], rooms: list[dict[str, int]]
) -> None:
    left = [waiting(id, since, name, suspect) for id, (since, name, suspect) in enumerate(some)]
    found = due(*left)
    for room in rooms:
        suspects = sorted(w for w in left if w.is_suspect and room.get(w.endpoint, 0) > 0)
        assert suspect(found, room) == (suspects[0].id if suspects else None)
        next_ = in_turn(left, room)
        assert taken(found, room) == next_
        left = [each for each in left if each.id not in next_]
        assert len(found) == len(left)


def test_there_is_room_for_so_many_of_each_endpoint() -> None:
    found = due(*[waiting(id, endpoint=ENDPOINTS[id % 2]) for id in range(6)])
    assert taken(found, {"train": 1, "deploy": 2, "other": 3}) == [0, 1, 3]
    assert taken(found, {"train": 0}) == [] and taken(found, {}) == []
    assert taken(found) == [2, 4, 5] and len(found) == 0


def test_a_suspect_is_taken_by_nobody_else_and_waits_until_it_is_removed() -> None:
    found = due(waiting(1), waiting(2, suspect=True), waiting(3), waiting(4, suspect=True))
    assert taken(found) == [1, 3]
    assert (suspect(found), suspect(found, {"deploy": 9}), suspect(found)) == (2, None, 2)
    found.remove(2)
    assert (suspect(found), len(found)) == (4, 1)


def test_a_suspect_that_is_due_later_is_so_at_its_time() -> None:
    found = due()
    found.add(waiting(1, 20.0, suspect=True), is_due=False)
    assert (suspect(found, now=19.9), suspect(found, now=20.0)) == (None, 1)


def test_what_is_due_later_is_so_at_its_time() -> None:
    found = due(waiting(1, 5.0))
    found.add(waiting(2, 30.0), is_due=False)
    found.add(waiting(3, 20.0), is_due=False)
    assert (taken(found, now=19.9), found.next_at()) == ([1], 20.0)
    assert (taken(found, now=20.0), found.next_at()) == ([3], 30.0)
    assert (taken(found, now=99.0), found.next_at()) == ([2], inf)


def test_what_is_due_is_so_whatever_the_clock_says() -> None:
    assert taken(due(waiting(1, 1e9)), now=0.0) == [1]


def test_what_waits_no_longer_is_not_taken_nor_waited_for() -> None:
    found = due(waiting(1), waiting(2))
    found.add(waiting(3, 20.0), is_due=False)
    for id in (1, 3, 99):
        found.remove(id)
    assert (len(found), found.next_at(), taken(found, now=99.0)) == (1, inf, [2])


def test_one_that_waits_again_is_taken_once_and_as_it_is_now() -> None:
    found = due(waiting(1, 1.0))
    found.remove(1)
    found.add(waiting(1, 9.0, suspect=True))
    assert (taken(found), suspect(found), len(found)) == ([], 1, 1)


def test_bodies_are_held_up_to_a_limit_and_room_comes_back() -> None:
    found = Due()
    half = replace(NEW, body=bytes(MOST_BYTES // 2 + 1))
    small = replace(NEW, body=b"{}")

    def is_held(id: int, delivery: Recorded) -> bool:
        found.add(new := Waiting(0.0, id, "train", delivery=delivery))
        return new.delivery is not None

    assert [is_held(1, half), is_held(2, half), is_held(3, small)] == [True, False, True]
    found.remove(1)
    assert is_held(4, half)
    assert taken(found) == [2, 3, 4]
    assert is_held(5, half)
