import resource

import pytest

from hfhooks.errors import StartError
from hfhooks.http.limits import MOST_CONNECTIONS, check_head, most_connections
from hfhooks.model.refusal import Refusal


@pytest.mark.parametrize(
    "host",
    ["a", "a.test", "a_b.test:7860", "127.0.0.1:80", "[::1]", "[::1]:7860", "xn--p1ai.de"],
)
def test_a_host_and_a_port(host: str) -> None:
    check_head("1.1", b"/", {"host": host}, [("host", host)])


@pytest.mark.parametrize(
    "host", ["", " ", "a/?x=", "a b", "u@a", "a:", "a:123456", "a:b", "[::1", "::1", "a,b", "\xe9"]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_head("1.1", b"/", {"host": host}, [("host", host)])
    assert (caught.value.status, caught.value.word) == (400, "bad_request")


@pytest.mark.parametrize(
    ("before", "after", "connections"),
    [
        ((1024, 20_000), (4096, 20_000), MOST_CONNECTIONS),
        ((256, 300), (300, 300), 236),
        ((65, 65), None, 1),
        ((8192, 8192), None, MOST_CONNECTIONS),
        ((256, resource.RLIM_INFINITY), (4096, resource.RLIM_INFINITY), MOST_CONNECTIONS),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, MOST_CONNECTIONS),
    ],
)
def test_as_many_files_as_are_of_use(
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[int, int],
    after: tuple[int, int] | None,
    connections: int,
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    assert most_connections() == connections
    assert set_to == ([after] if after else [])


def test_a_limit_that_cannot_be_raised_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert most_connections() == 36


def test_with_too_few_files_nothing_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(StartError, match="only 64 files may be open at once"):
        most_connections()
