import pytest

from hfhooks.errors import UsageError
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.events import Filter
from hfhooks.model.exported import Exported
from hfhooks.model.samples import sample
from hfhooks.model.sending import Request, Sent, choose, named, replayed, verdicts

TRAIN = Endpoint("train", Filter(on=("repo.content:update",)))
TALK = Endpoint("bots/talk", Filter(on=("discussion",)))
ALL = Endpoint("all")
PUSH, COMMENT = (
    sample("repo.content:update", "dataset:me/data"),
    sample("discussion:create", "model:me/bot"),
)


@pytest.mark.parametrize(
    "name", ["bots/talk", "/bots/talk", "bots/talk/", "/webhooks/bots/talk", "webhooks/bots/talk/"]
)
def test_an_endpoint_is_named_in_any_form(name: str) -> None:
    assert named([TRAIN, TALK], name) is TALK


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trian", "no endpoint 'trian', did you mean 'train'?"),
        ("zzz", "no endpoint 'zzz', valid: train, bots/talk."),
        ("talk", "no endpoint 'talk', did you mean 'bots/talk'?"),
        ("", "no endpoint '', valid: train, bots/talk."),
    ],
)
def test_a_wrong_name_offers_the_right_one(name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        named([TRAIN, TALK], name)
    assert str(caught.value) == words


def test_the_endpoint_that_wants_an_event_is_chosen() -> None:
    assert choose([TRAIN, TALK], PUSH) is TRAIN
    assert choose([TRAIN, TALK], COMMENT) is TALK


def test_the_only_endpoint_is_chosen_also_for_what_it_does_not_want() -> None:
    assert choose([TALK], PUSH) is TALK


@pytest.mark.parametrize(
    ("endpoints", "words", "help"),
    [
        (
            [TRAIN, ALL],
            "several endpoints want repo.content:update of dataset:me/data: train, all.",
            "Choose one: --to train",
        ),
        (
            [TALK, Endpoint("other", TALK.filter)],
            "no endpoint wants repo.content:update of dataset:me/data: bots/talk, other.",
            "Choose one: --to bots/talk",
        ),
        ([], "no endpoint wants repo.content:update of dataset:me/data: there is none.", None),
    ],
)
def test_what_is_not_clear_is_said_with_what_to_choose_from(
    endpoints: list[Endpoint], words: str, help: str | None
) -> None:
    with pytest.raises(UsageError) as caught:
        choose(endpoints, PUSH)
    assert (str(caught.value), caught.value.help) == (words, help)


def test_a_payload_of_nothing_known_is_called_so() -> None:
    with pytest.raises(UsageError, match="want unknown event of unknown repo"):
        choose([ALL, Endpoint("more")], {})


ONE = Exported("train", b'{"a": 1}', (("webhook-id", "w1"), ("content-type", "a/b")), "a=1&b=%20")


def test_a_replay_is_the_same_bytes_to_the_same_endpoint() -> None:
    assert replayed([TRAIN, TALK], ONE) == Request(
        "/webhooks/train?a=1&b=%20",
        b'{"a": 1}',
        {"content-type": "a/b", "webhook-id": "w1", "hfhooks-origin": "replay"},
    )


def test_a_replay_without_a_media_type_is_json() -> None:
    one = Exported("train", b"{}")
    assert replayed([TRAIN], one).headers == {
        "content-type": "application/json",
        "hfhooks-origin": "replay",
    }


def test_a_replay_may_go_to_another_endpoint() -> None:
    assert replayed([TRAIN, TALK], ONE, to="bots/talk").path == "/webhooks/bots/talk?a=1&b=%20"


def test_a_replay_without_an_endpoint_goes_to_the_one_that_wants_it() -> None:
    body = b'{"event": {"scope": "discussion", "action": "create"}}'
    assert replayed([TRAIN, TALK], Exported(None, body)).path == "/webhooks/bots/talk"


def test_a_replay_to_an_endpoint_that_is_gone_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no endpoint 'train'"):
        replayed([TALK], ONE)


def test_no_replay_pretends_to_be_the_hubs() -> None:
    one = Exported("train", b"{}", (("hfhooks-origin", "hub"),))
    assert replayed([TRAIN], one).headers["hfhooks-origin"] == "replay"


def test_each_endpoint_says_why_it_does_not_want_an_event() -> None:
    assert verdicts([TRAIN, TALK, ALL], PUSH) == [
        ("train", None),
        ("bots/talk", "event repo.content:update is not discussion"),
        ("all", None),
    ]


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [("/webhooks/train", "train"), ("/webhooks/a/b?c=/webhooks/d", "a/b"), ("/webhooks/?a", "")],
)
def test_a_request_knows_its_endpoint(path: str, endpoint: str) -> None:
    assert Request(path, b"").endpoint == endpoint


@pytest.mark.parametrize(
    ("status", "has_failed"),
    [
        ("succeeded", False),
        ("queued", False),
        ("running", False),
        ("ignored", False),
        ("duplicate", False),
        ("failed", True),
        ("retrying", True),
        ("refused", True),
    ],
)
def test_what_counts_as_failed(status: str, has_failed: bool) -> None:
    assert Sent(200, status, "train", 1, 0.1, b"").has_failed is has_failed
