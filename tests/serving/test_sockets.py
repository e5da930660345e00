"""What a server listens on. Who has a port that is taken: `test_serve.py`."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from hfhooks.errors import SecretError, StartError, UsageError
from hfhooks.http.listener import bind
from hfhooks.serving.sockets import bound
from hfhooks.settings import Settings, load_settings


def settings(**given: Any) -> Settings:
    return load_settings(**{"port": 0, "tunnel": "none", **given})


def test_a_server_has_two_sockets_and_one_is_for_this_machine_alone() -> None:
    with bound(settings(host="0.0.0.0")) as sockets:
        assert sockets.public.getsockname() == ("0.0.0.0", sockets.port)
        own = sockets.own.getsockname()
        assert own[0] == "127.0.0.1"
        assert sockets.own_url == f"http://127.0.0.1:{own[1]}"
        assert sockets.port > 0 and sockets.connections > 0 and sockets.tunnel is None


def test_it_listens_until_the_end_and_no_longer() -> None:
    with bound(settings()) as sockets:
        for sock in (sockets.public, sockets.own):
            socket.create_connection(sock.getsockname()).close()
    assert (sockets.public.fileno(), sockets.own.fileno()) == (-1, -1)


def test_the_tunnel_that_is_asked_for_comes_with_them() -> None:
    with bound(settings(tunnel=None, public_url="https://hooks.example.com")) as sockets:
        assert sockets.tunnel is not None


@pytest.fixture
def taken() -> Iterator[int]:
    with bind("127.0.0.1", 0) as other:
        yield other.getsockname()[1]


@pytest.fixture
def free() -> int:
    with bind("127.0.0.1", 0) as other:
        return int(other.getsockname()[1])


@pytest.mark.parametrize("name", ["port", "inspector_port"])
def test_a_port_that_is_taken_is_said(taken: int, name: str) -> None:
    words = f"port {taken} is in use"
    with pytest.raises(StartError, match=words), bound(settings(**{name: taken})):
        pytest.fail("it is taken")


def test_where_one_port_is_taken_the_other_is_given_back(taken: int, free: int) -> None:
    with pytest.raises(StartError), bound(settings(port=free, inspector_port=taken)):
        pytest.fail("it is taken")
    bind("127.0.0.1", free).close()


@pytest.mark.parametrize(
    ("given", "environment", "error", "words"),
    [
        ({}, {"WEBHOOK_SECRET": " "}, SecretError, "WEBHOOK_SECRET is empty"),
        ({}, {"WEBHOOK_SECRET_PREVIOUS": "x" * 20}, SecretError, "WEBHOOK_SECRET is not"),
        (
            {"tunnel": "ngrok", "public_url": "https://hooks.example.com"},
            {},
            UsageError,
            "only one of them",
        ),
    ],
)
def test_what_is_wrong_with_the_rest_is_said_before_any_port_is_looked_at(
    taken: int,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    environment: dict[str, str],
    error: type[Exception],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=words), bound(settings(port=taken, **given)):
        pytest.fail("it is taken too")
