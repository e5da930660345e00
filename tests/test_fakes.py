"""The fake Hub, asked by the Hub's own client."""

from collections.abc import Iterator

import pytest
from huggingface_hub import HfApi, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.fakes import FakeHub, fake_hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        yield hub


def test_discussions_are_kept(hub: FakeHub) -> None:
    api = HfApi(hub.url, token="hf_x")
    opened = api.create_discussion("me/model", "A title", description="first")
    api.comment_discussion("me/model", opened.num, "second")
    [found] = api.get_repo_discussions("me/model")
    assert (found.num, found.title, found.repo_id) == (1, "A title", "me/model")
    details = api.get_discussion_details("me/model", 1)
    assert [event.content for event in details.events] == ["first", "second"]  # type: ignore[attr-defined] # comments have it
    assert "Bearer hf_x" in hub.tokens


def test_cards_are_those_that_a_test_gave(hub: FakeHub) -> None:
    hub.cards["models/me/model"] = {"license": "mit"}
    info = HfApi(hub.url).model_info("me/model")
    assert info.card_data is not None and info.card_data.get("license") == "mit"
    with pytest.raises(HfHubHTTPError):
        HfApi(hub.url).model_info("me/other")


def test_the_model_answers_in_capitals(hub: FakeHub) -> None:
    answer = InferenceClient(model=hub.url).chat_completion([{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "HI"
