"""Scripts in the shapes that people write for huggingface_hub, all of them served at once."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.harness import PAYLOADS, Answer, Server, payload, payload_bytes, request, wait_until

pytest.importorskip("huggingface_hub")

SCRIPTS = Path(__file__).parent / "scripts"
SECRET = "a-secret-that-is-long-enough"
UPDATE, PULL = "dataset_content_update_main_v3_built", "pr_create_v3_docs"
COMMENT, TAGGED = "comment_create_v3_built", "repo_content_update_main_and_tag_v3_built"
DATASET = payload(UPDATE)["repo"]["name"]
MODEL = payload(PULL)["repo"]["name"]
TAGS = [ref["ref"] for ref in payload(TAGGED)["updatedRefs"] if "/tags/" in ref["ref"]]


class Case(NamedTuple):
    """A delivery to an endpoint, and what its handler answers."""

    endpoint: str
    payload: str
    answer: Any
    status: int = 200


CASES = [
    Case("update_leaderboard", UPDATE, {"processed": True, "repo": DATASET}),
    Case("update_leaderboard", PULL, {"processed": False, "reason": "not the results"}),
    Case("ci_bot", PULL, {"processed": True}),
    Case("ci_bot", UPDATE, {"processed": False}),
    Case("counted", PULL, 4),
    Case("count", PULL, 4),
    Case("own_check", PULL, {"detail": "Invalid secret"}, 403),
    Case("dict_payload", UPDATE, {"sha": payload(UPDATE)["repo"]["headSha"]}),
    Case("whole_request", PULL, {"type": "application/json", "scope": "discussion"}),
    Case("doubled", PULL, "create"),
    Case("webhooks/doubled", PULL, "create"),
    Case("own_model", PULL, MODEL),
    Case("postponed", PULL, {"method": "POST", "repo": MODEL}),
    Case("nothing", PULL, None),
    Case("a_list", PULL, [1, 2]),
    Case("a_number", PULL, 7),
    Case("a_model", PULL, {"action": "create", "scope": "discussion"}),
    Case("a_response", PULL, {"error": "no"}, 400),
    Case("an_exception", PULL, {"detail": "a teapot"}, 418),
    Case("method", PULL, "bot: discussion"),
    Case("object", PULL, "bot called"),
    Case("partial", PULL, f"hello {MODEL}"),
    Case("first", PULL, payload(PULL)["repo"]["type"]),
    Case("second", PULL, payload(PULL)["repo"]["type"]),
    Case("dependencies", PULL, f"gpt2 on {MODEL}"),
    Case("guarded_main", PULL, 3),
    Case(
        "notifier",
        COMMENT,
        {
            "processed": True,
            "said": payload(COMMENT)["comment"]["content"],
            "where": payload(COMMENT)["discussion"]["url"]["web"],
        },
    ),
    Case("notifier", PULL, {"processed": False}),
    Case(
        "tags",
        TAGGED,
        [ref["ref"] for ref in payload(TAGGED)["updatedRefs"] if "tags" in ref["ref"]],
    ),
    Case("review", UPDATE, {"status": "reviewed", "url": f"https://huggingface.co/{DATASET}"}),
    Case("untyped", PULL, MODEL),
    Case("no_argument", PULL, "called"),
]


@pytest.fixture(scope="module", params=[None, SECRET], ids=["open", "with a secret"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Answer]]:
    """Return a function that posts to a server of all scripts."""
    home = tmp_path_factory.mktemp("home")
    env = {"HOME": str(home), "XDG_STATE_HOME": str(home)}
    env |= {"WEBHOOK_SECRET": request.param} if request.param else {}
    with ExitStack() as stack:
        server = stack.enter_context(Server(*sorted(SCRIPTS.glob("*.py")), env=env))
        url = f"{server.ready['local_url']}/webhooks/"
        yield lambda *given, **headers: post(url, request.param, *given, **headers)
        assert "Traceback" not in server.stderr


def post(url: str, secret: str | None, name: str, body: bytes, **headers: str) -> Answer:
    sent = {"content-type": "application/json"} | ({"x-webhook-secret": secret} if secret else {})
    sent |= {field.replace("_", "-"): value for field, value in headers.items()}
    return request("POST", url + name, body, sent)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.endpoint} {case.payload[:12]}")
def test_a_script_answers_as_it_says(served: Callable[..., Answer], case: Case) -> None:
    answer = served(case.endpoint, payload_bytes(case.payload))
    assert (answer.status, answer.json()) == (case.status, case.answer)


def test_a_header_and_a_query_reach_their_parameters(served: Callable[..., Answer]) -> None:
    answer = served("own_check", payload_bytes(PULL), x_other_secret="other")
    assert answer.json() == MODEL
    assert served("dependencies?name=bert", payload_bytes(PULL)).json() == f"bert on {MODEL}"


def test_what_is_no_json_reaches_a_request(served: Callable[..., Answer]) -> None:
    answer = served("sms", b"From=%2B1&Body=hi", content_type="application/x-www-form-urlencoded")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    assert answer.body == b"<Response><Message>hi</Message></Response>"


@pytest.mark.parametrize(("name", "text"), [("a_text", b"ok"), ("a_stream", b"ok")])
def test_an_answer_that_is_no_json(served: Callable[..., Answer], name: str, text: bytes) -> None:
    answer = served(name, payload_bytes(PULL))
    assert (answer.body, answer.headers["content-type"]) == (text, "text/plain; charset=utf-8")


def test_what_is_done_after_the_answer_is_done(served: Callable[..., Answer]) -> None:
    assert served("ci_bot", payload_bytes(PULL)).json() == {"processed": True}
    number = payload(PULL)["discussion"]["num"]
    wait_until(lambda: number in served("ci_bot_done", b"{}").json())


def test_every_payload_of_version_3_is_handled(served: Callable[..., Answer]) -> None:
    for path in PAYLOADS:
        if "v3" in path.stem:
            assert served("untyped", path.read_bytes()).status == 200, path.stem
            sent = json.loads(path.read_bytes())
            assert served("dict_payload", path.read_bytes()).json() == {
                "sha": sent["repo"].get("headSha")
            }
