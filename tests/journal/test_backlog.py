"""Whom too much that waits turns away, and whom it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.journal.backlog import Backlog, Limits

SMALL = Limits(each=8, all=12, size=1000, spared=3)


def backlog(**numbers: int) -> Backlog:
    """Return one with so many deliveries of each endpoint, of ten bytes each."""
    found = Backlog(SMALL)
    names = [name for name, number in numbers.items() for _ in range(number)]
    for id, name in enumerate(names):
        found.add(id, name, 10)
    return found


def refused(found: Backlog, size: int = 10) -> list[str]:
    return [name for name in ("a", "b", "c") if found.refusal(name, size)]


@pytest.mark.parametrize(
    ("numbers", "whom"),
    [
        ({}, []),
        ({"a": 7, "b": 4}, []),
        ({"a": 8}, ["a"]),
        ({"a": 7, "b": 5}, ["a"]),
        ({"a": 6, "b": 6}, ["a", "b"]),
        ({"a": 5, "b": 4, "c": 3}, ["a"]),
        ({"a": 8, "b": 8, "c": 2}, ["a", "b"]),
    ],
)
def test_the_endpoint_that_has_the_most_is_turned_away(
    numbers: dict[str, int], whom: list[str]
) -> None:
    assert refused(backlog(**numbers)) == whom


def test_who_has_few_is_not_turned_away_for_the_others() -> None:
    many = Backlog(Limits(each=8, all=2, size=1000, spared=3))
    for id, name in enumerate("aabb"):
        many.add(id, name, 10)
    assert refused(many) == []
    many.add(4, "a", 10)
    assert refused(many) == ["a"]


def test_of_too_many_bytes_who_has_the_most_of_them_is_turned_away() -> None:
    found = backlog(a=3, b=5)
    found.add(99, "a", 910)
    assert refused(found) == []
    assert refused(found, 11) == ["a"]


def test_what_is_left_of_endpoints_that_are_gone_turns_nobody_away() -> None:
    found = backlog(a=4, gone=8)
    assert refused(found) == []  # though `gone` has the most of twelve
    for id in range(20, 23):
        found.add(id, "b", 10)
    found.serve(["a", "b", "c"])
    found.add(30, "a", 10)
    assert refused(found) == []
    found.serve(["a", "b", "c", "gone"])
    assert found.refusal("gone")


def test_one_that_comes_to_an_endpoint_that_is_about_to_be_served_counts() -> None:
    found = backlog(a=8)
    found.serve([])
    assert refused(found) == ["a"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (backlog(a=8), "8 deliveries wait for the handler of a."),
        (backlog(a=7, b=5), "12 deliveries of 0 MiB wait for handlers, most of them for that of a"),
    ],
)
def test_why_is_said(found: Backlog, said: str) -> None:
    assert said in str(found.refusal("a"))


CHANGES = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.integers(0, 200), st.booleans())
)


@given(CHANGES)
def test_each_counts_once_until_it_is_removed(
    changes: list[tuple[int, str, int, bool]],
) -> None:
    found = Backlog(Limits(each=3, all=99, size=10**6))
    known: dict[int, str] = {}
    for id, name, size, is_removed in changes:
        if is_removed:
            found.remove(id)
            known.pop(id, None)
        else:
            found.add(id, name, size)
            known.setdefault(id, name)
        assert len(found) == len(known)
        assert refused(found) == [name for name in "ab" if list(known.values()).count(name) >= 3]
