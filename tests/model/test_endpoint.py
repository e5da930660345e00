from typing import Any

import pytest

from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.events import Filter
from hfhooks.redact import redact

ENVIRONMENT = ("current-of-all", "previous-of-all")
FULL = Endpoint(
    "a/b", Filter(("repo",), ("me/*",), ("refs/*",)), ("its-own-secret",), 0, 1, takes_json=False
)


def test_its_path_is_below_the_prefix() -> None:
    assert FULL.path == "/webhooks/a/b"


def test_it_comes_back_from_json_as_it_was() -> None:
    assert Endpoint.from_json(FULL.as_json()) == FULL


def test_who_reads_one_masks_its_secrets_too() -> None:
    Endpoint.from_json(Endpoint("train", secrets=("known-to-one-process",)).as_json())
    assert redact("it is known-to-one-process.") == "it is ***."


def test_secrets_are_not_shown_by_accident() -> None:
    assert "its-own-secret" not in repr(FULL)


@pytest.mark.parametrize(
    ("secrets", "whose"),
    [
        ((), "nobody"),
        (ENVIRONMENT, "environment"),
        (ENVIRONMENT[:1], "script"),
        (("its-own-secret",), "script"),
    ],
)
def test_what_is_published_says_whose_its_secrets_are_and_not_what(
    secrets: tuple[str, ...], whose: str
) -> None:
    published = Published.of(Endpoint("train", secrets=secrets), ENVIRONMENT)
    assert (published.secrets_of, published.endpoint.secrets) == (whose, ())
    assert published.is_closed is bool(secrets)
    assert Published.from_json(published.as_json()) == published


def test_without_secrets_in_the_environment_an_open_endpoint_is_nobodys() -> None:
    assert Published.of(Endpoint("train"), ()).secrets_of == "nobody"


@pytest.mark.parametrize(
    ("whose", "environment", "secrets"),
    [
        ("nobody", (), ()),
        ("nobody", ENVIRONMENT, ENVIRONMENT),
        ("environment", ENVIRONMENT, ENVIRONMENT),
        ("environment", (), None),
        ("script", (), None),
        ("script", ENVIRONMENT, None),
    ],
)
def test_it_gets_the_secrets_that_it_would_have_now_or_is_not_served(
    whose: str, environment: tuple[str, ...], secrets: Any
) -> None:
    found = Published(Endpoint("train"), whose).with_secrets(environment)
    assert (found and found.secrets) == secrets
