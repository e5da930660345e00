"""Every example is served as its own words say, and does what it says."""

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeHub, fake_hub
from tests.harness import EXAMPLES, payload, payload_bytes, post, request, wait_until

Start = Callable[..., Any]

PULL = payload_bytes("pr_create_v3_docs")
DATASET = payload_bytes("dataset_content_update_main_v3_built")
MODEL = payload_bytes("repo_content_update_main_v3_captured")
SECRET = {"x_webhook_secret": "my_secret_key"}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        yield hub


@pytest.fixture
def serve(start: Start, hub: FakeHub) -> Start:
    """Return a function that serves an example with the fake Hub behind it."""

    def serve(name: str, **variables: str) -> Any:
        env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_t0ken"} | variables
        return start(EXAMPLES / name, env=env)

    return serve


def test_every_example_has_a_test() -> None:
    source = Path(__file__).read_text()
    assert not [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in source]


def test_trigger_training(serve: Start) -> None:
    server = serve("trigger_training.py")
    assert server.post("trigger_training", DATASET).json() == {"processed": True}
    assert server.post("trigger_training", PULL).json() == {"processed": False}
    wait_until(lambda: "Training on some-user/some-dataset at c379e82" in server.stderr)


def test_several_endpoints(serve: Start) -> None:
    server = serve("several_endpoints.py")
    assert server.post("trigger_training", DATASET).json() == {
        "training_on": "some-user/some-dataset"
    }
    assert server.post("trigger_evaluation", MODEL).json()["evaluating"] == "coyotte508/test-s3"
    assert server.post("trigger_evaluation", DATASET).json() == {"id": 3, "status": "ignored"}


@pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")
def test_gradio_page(serve: Start) -> None:
    server = serve("gradio_page.py", GRADIO_ANALYTICS_ENABLED="False")
    assert server.post("push", MODEL).status == 200
    assert b"Pushes" in request("GET", server.ready["local_url"] + "/").body


def test_custom_server(serve: Start) -> None:
    server = serve("custom_server.py")
    assert server.post("say_hello", PULL).status == 401
    hello = {"message": "hello openai-community/gpt2"}
    assert server.post("say_hello", PULL, **SECRET).json() == hello
    assert post(server.url("say_hello") + "?secret=my_secret_key", PULL).json() == hello
    goodbye = {"message": "goodbye openai-community/gpt2"}
    assert server.post("goodbye", PULL, **SECRET).json() == goodbye
    assert server.ready["secret"] is True


def test_whole_request(serve: Start) -> None:
    server = serve("whole_request.py")
    answer = post(server.url("requests") + "?a=1", b"free text", content_type="text/plain")
    assert answer.json() == {
        "bytes": 9,
        "media_type": "text/plain",
        "delivered_as": None,
        "query": {"a": "1"},
    }
    assert server.post("requests", b"").json() == {"detail": "an empty body"}


def test_auto_retrain(serve: Start, hub: FakeHub) -> None:
    code = "import os; print('loss', 0.25, os.environ['DATASET_REVISION'][:7])"
    variables = {"MODEL": "me/model", "DATASET": "some-user/some-dataset"}
    server = serve("auto_retrain.py", TRAIN_COMMAND=f'"{sys.executable}" -c "{code}"', **variables)
    answer = server.post("retrain", DATASET)
    assert answer.json()["discussion"] == 1
    [discussion] = hub.discussions["models/me/model"]
    assert discussion["title"] == "Trained on some-user/some-dataset at c379e82"
    assert "loss 0.25 c379e82" in discussion["comments"][0]
    assert hub.tokens == {"Bearer hf_t0ken"}
    parquet = payload("dataset_content_update_main_v3_built")
    parquet["updatedRefs"][0]["ref"] = "refs/convert/parquet"
    assert server.post("retrain", parquet).json()["status"] == "ignored"


def test_auto_retrain_where_the_training_fails(serve: Start, hub: FakeHub) -> None:
    variables = {"MODEL": "me/model", "DATASET": "some-user/some-dataset"}
    server = serve("auto_retrain.py", TRAIN_COMMAND="false", **variables)
    assert server.post("retrain", DATASET).json()["status"] == "retrying"
    wait_until(lambda: "CalledProcessError" in server.stderr)
    assert hub.discussions == {}


def test_discussion_bot(serve: Start, hub: FakeHub) -> None:
    server = serve("discussion_bot.py", BOT_MODEL=hub.url)
    answer = server.post("answer_mention", payload_bytes("comment_create_v3_built"))
    assert answer.json() == {"processed": True, "answer": "WHAT IS THIS MODEL?"}
    discussion = hub.discussions["models/some-user/some-repo"][2]
    assert discussion["comments"] == ["WHAT IS THIS MODEL?"]


@pytest.mark.parametrize(
    "change", [{"content": "no mention"}, {"author": {"id": "b07"}}, {"content": None}]
)
def test_discussion_bot_keeps_quiet(serve: Start, hub: FakeHub, change: dict[str, Any]) -> None:
    server = serve("discussion_bot.py", BOT_MODEL=hub.url)
    comment = payload("comment_create_v3_built")
    comment["comment"] |= change
    assert server.post("answer_mention", comment).json() == {"processed": False}
    assert hub.discussions == {}


def test_metadata_review(serve: Start, hub: FakeHub) -> None:
    hub.cards["datasets/some-user/some-dataset"] = {"license": "mit", "language": ["en"]}
    server = serve("metadata_review.py")
    missing = ["task_categories", "size_categories"]
    assert server.post("review", DATASET).json() == {"missing": missing, "discussion": 1}
    hub.cards["datasets/some-user/some-dataset"] |= dict.fromkeys(missing, "x")
    assert server.post("review", DATASET).json() == {"missing": [], "discussion": 1}
    [discussion] = hub.discussions["datasets/some-user/some-dataset"]
    assert discussion["title"] == "Metadata review"
    first, second = discussion["comments"]
    assert "- `task_categories`\n- `size_categories`" in first and "Thank you" in second


def test_metadata_review_of_a_card_that_says_everything(serve: Start, hub: FakeHub) -> None:
    card = dict.fromkeys(["license", "language", "task_categories", "size_categories"], "x")
    hub.cards["datasets/some-user/some-dataset"] = card
    server = serve("metadata_review.py")
    assert server.post("review", DATASET).json() == {"missing": [], "discussion": None}
    assert hub.discussions == {"datasets/some-user/some-dataset": []}
