from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from hfhooks.gateway.admission import Admission
from hfhooks.http.messages import Request
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.refusal import Refusal

Check = Callable[[Request, Endpoint], None]
ROTATING = Endpoint("train", secrets=("new-secret", "old-secret"))


def request(query: str = "", **headers: str) -> Request:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request("POST", f"/webhooks/train?{query}".encode(), named)


@dataclass
class Clock:
    now: float = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def check(clock: Clock) -> Check:
    return Admission(clock).check


def refused(check: Check, request: Request, endpoint: Endpoint = ROTATING) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check(request, endpoint)
    return caught.value


@pytest.mark.parametrize("secret", ROTATING.secrets)
def test_either_secret_of_a_rotation_lets_in(check: Check, secret: str) -> None:
    check(request(x_webhook_secret=secret), ROTATING)
    check(request(f"secret={secret}"), ROTATING)


@pytest.mark.parametrize("given", ["", "new", "new-secret old-secret", "new-secretold-secret"])
def test_nothing_else_does(check: Check, given: str) -> None:
    assert refused(check, request(x_webhook_secret=given)).status == 401
    assert refused(check, request(f"secret={quote(given)}")).status == 401
    assert refused(check, request()).status == 401


OURS = [
    "http://127.0.0.1:7860",
    "http://localhost:3000",
    "https://LOCALHOST",
    "http://[::1]:7860",
    "http://192.168.1.5:7860",
    "https://hooks.example.com",
    "https://hooks.example.com:443",
]
STRANGE = [
    "null",
    "",
    "https://evil.example",
    "http://evil.example:7860",
    "http://hooks.example.com",
    "https://hooks.example.com:8443",
    "https://hooks.example.com.evil.example",
    "https://evil.example/hooks.example.com",
    "http://127.0.0.1@evil.example",
    "http://evil.example\\@127.0.0.1",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1:7860, https://evil.example",
    "file://127.0.0.1",
    "chrome-extension://localhost",
    "http://127.0.0.1:7860/path",
]
OPEN = Endpoint("train")


@pytest.fixture
def check_page(clock: Clock) -> Check:
    admission = Admission(clock, "192.168.1.5")
    admission.public_url = "https://hooks.example.com/base"
    return admission.check


@pytest.mark.parametrize("origin", OURS)
def test_without_a_secret_a_page_of_ours_may_post(check_page: Check, origin: str) -> None:
    check_page(request(origin=origin, sec_fetch_site="same-origin"), OPEN)
    check_page(request(origin=origin, host="evil.example"), OPEN)


@pytest.mark.parametrize("origin", STRANGE)
def test_without_a_secret_no_page_of_a_stranger_may_post(check_page: Check, origin: str) -> None:
    for host in ("127.0.0.1:7860", "evil.example", "hooks.example.com"):
        refusal = refused(check_page, request(origin=origin, host=host), OPEN)
        assert (refusal.status, refusal.word) == (403, "forbidden")


def test_a_page_of_another_site_is_refused_whatever_it_says(check_page: Check) -> None:
    assert refused(check_page, request(sec_fetch_site="Cross-Site"), OPEN).status == 403
    both = request(origin="http://localhost:7860", sec_fetch_site="cross-site")
    assert refused(check_page, both, OPEN).status == 403


def test_two_origins_must_both_be_ours(check_page: Check) -> None:
    headers = [("origin", "https://evil.example"), ("origin", "http://localhost")]
    for order in (headers, headers[::-1]):
        twice = Request("POST", b"/webhooks/train", order)
        assert refused(check_page, twice, OPEN).status == 403


def test_who_is_no_browser_may_post_whatever_its_host(check_page: Check) -> None:
    for host in ("hooks", "10.0.0.7:80", "evil.example", "my-hooks.ngrok-free.dev"):
        check_page(request(host=host, x_forwarded_host="a.example"), OPEN)


def test_with_a_secret_pages_are_let_in_by_it(check: Check) -> None:
    from_page = {"origin": "https://evil.example", "sec_fetch_site": "cross-site"}
    check(request(x_webhook_secret="new-secret", **from_page), ROTATING)
    assert refused(check, request(**from_page)).status == 401


def test_the_owner_of_an_open_endpoint_hears_of_it_now_and_then(
    check_page: Check, clock: Clock
) -> None:
    strange = request(origin="https://evil.example")
    hint = refused(check_page, strange, OPEN).hint
    assert hint and "WEBHOOK_SECRET" in hint and "evil" not in hint
    assert refused(check_page, strange, OPEN).hint is None
    clock.now += 61
    assert refused(check_page, strange, OPEN).hint == hint


def test_who_gives_two_secrets_in_the_url_means_two_things(check: Check) -> None:
    refusal = refused(check, request("secret=new-secret&secret=old-secret"))
    assert (refusal.status, refusal.word) == (400, "bad_request")


def test_an_endpoint_without_a_secret_lets_in_everybody(check: Check) -> None:
    check(request(), Endpoint("open"))
    check(request(x_webhook_secret="any"), Endpoint("open"))


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"x_webhook_secret": "sha256=0aF9"}),
        ("", {"x_webhook_secret": "0f" * 32}),
        ("secret=sha256%3D00", {}),
        ("", {"x_hub_signature_256": "sha256=0af9"}),
        ("", {"x_hub_signature_256": "sha256=0af9", "x_webhook_secret": "new-secre"}),
    ],
)
def test_who_signs_is_told_of_in_our_own_log_alone(
    check: Check, query: str, headers: dict[str, str]
) -> None:
    refusal = refused(check, request(query, **headers))
    assert (refusal.status, refusal.word, refusal.headers) == (401, "unauthorized", {})
    assert refusal.hint is not None and "The Hub signs nothing" in refusal.hint


def test_a_secret_that_looks_like_a_signature_is_none(check: Check) -> None:
    own = Endpoint("train", secrets=("0f" * 32,))
    assert refused(check, request(x_webhook_secret="1f" * 32), own).hint is None


def test_a_hint_is_given_once_a_minute(check: Check, clock: Clock) -> None:
    signed = request(x_webhook_secret="0f" * 32)
    for seconds, is_given in ((0, True), (1, False), (58, False), (1, True), (-3600, True)):
        clock.now += seconds
        assert bool(refused(check, signed).hint) is is_given


def hints(check: Check, *given: str | None) -> list[bool]:
    requests = [request() if s is None else request(x_webhook_secret=s) for s in given]
    return [bool(refused(check, each).hint) for each in requests]


def test_three_wrong_secrets_in_a_row_may_be_the_webhooks_fault(check: Check) -> None:
    assert hints(check, "a", None, "b") == [False, False, False]
    refusal = refused(check, request(x_webhook_secret="c"))
    assert (
        refusal.hint is not None and "for /webhooks/train: the webhook on the Hub" in refusal.hint
    )


def test_a_right_one_between_them_says_that_it_is_not(check: Check) -> None:
    assert hints(check, "a", "b") == [False, False]
    check(request(x_webhook_secret="old-secret"), ROTATING)
    assert hints(check, "c", "d", "e") == [False, False, True]


def test_senders_without_a_secret_are_strangers(check: Check) -> None:
    assert not any(hints(check, *[None] * 10))


def test_wrong_secrets_are_counted_for_each_endpoint(check: Check) -> None:
    for name in ("a", "b", "c"):
        other = Endpoint(name, secrets=("new-secret",))
        assert refused(check, request(x_webhook_secret="wrong"), other).hint is None
