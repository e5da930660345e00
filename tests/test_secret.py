import hmac

import pytest

from hfhooks.errors import SecretError
from hfhooks.secret import advice, checked_secret, environment_secrets, is_one_of

LONG = "0123456789abcdef"


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("\n\n", "is empty"),
        ("clé-très-secrète", "is not ASCII"),
        ("two\nlines", "a line break"),
        ("two line breaks\n\n", "a line break"),
        ("bell\a", "a control character"),
        (" after-a-space", "begins or ends with a space"),
        ("\udcff", "a control character"),
    ],
)
def test_a_secret_that_protects_nothing_is_an_error(secret: str, words: str) -> None:
    for name in ("WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS"):
        with pytest.raises(SecretError, match=f"{name} .*{words}") as caught:
            environment_secrets({"WEBHOOK_SECRET": LONG} | {name: secret})
        assert caught.value.exit_code == 4
        assert not secret.strip() or secret not in str(caught.value)


@pytest.mark.parametrize("secret", ["s3cret\n", "s3cret\r\n", "s3cret"])
def test_the_line_break_of_a_file_is_left_out(secret: str) -> None:
    assert checked_secret(secret, "WEBHOOK_SECRET") == "s3cret"


def test_the_environment_names_up_to_two_secrets() -> None:
    assert environment_secrets({}) == ()
    assert environment_secrets({"WEBHOOK_SECRET": "new"}) == ("new",)
    both = {"WEBHOOK_SECRET": "new", "WEBHOOK_SECRET_PREVIOUS": "old"}
    assert environment_secrets(both) == ("new", "old")
    assert environment_secrets({**both, "WEBHOOK_SECRET_PREVIOUS": "new"}) == ("new",)


def test_a_previous_secret_alone_is_an_error() -> None:
    with pytest.raises(SecretError, match="WEBHOOK_SECRET_PREVIOUS is set and WEBHOOK_SECRET is"):
        environment_secrets({"WEBHOOK_SECRET_PREVIOUS": "old"})


def test_a_long_secret_needs_no_advice() -> None:
    assert list(advice({"WEBHOOK_SECRET": LONG}, [LONG, LONG])) == []
    assert list(advice({}, [])) == []


def test_a_line_break_and_a_short_secret_are_said_once_each() -> None:
    environ = {"WEBHOOK_SECRET": "s3cret", "WEBHOOK_SECRET_PREVIOUS": f"{LONG}\n"}
    line_break, short = advice(environ, ["s3cret", LONG, "s3cret", "my_own"])
    assert line_break == "WEBHOOK_SECRET_PREVIOUS ends with a line break, which is left out."
    assert short.endswith('python -c "import secrets; print(secrets.token_urlsafe(32))"')
    assert "s3cret" not in short


def test_all_secrets_are_compared_in_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append((len(given), len(known)))
        return given == known

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert is_one_of(b"first", ("first", "the second one"))
    assert compared == [(32, 32)] * 2
