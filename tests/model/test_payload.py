import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hfhooks import WebhookPayload
from hfhooks.model.payload import WebhookPayloadRepo
from tests.harness import PAYLOADS, payload

CURRENT = [path.stem for path in PAYLOADS if not path.stem.startswith("v2_")]
OLD = [path.stem for path in PAYLOADS if path.stem.startswith("v2_")]


@pytest.mark.parametrize("name", CURRENT)
def test_what_came_in_is_given_back(name: str) -> None:
    content = payload(name)
    model = WebhookPayload.model_validate(content)
    assert model.model_dump(by_alias=True) == content
    assert model.model_dump() == content
    assert json.loads(model.model_dump_json()) == content


@pytest.mark.parametrize("name", OLD)
def test_version_2_is_too_old_for_the_model(name: str) -> None:
    with pytest.raises(ValidationError):
        WebhookPayload.model_validate(payload(name))


def test_every_camel_case_key_can_be_read_in_both_spellings() -> None:
    model = WebhookPayload.model_validate(payload("repo_content_update_pr_ref_v3_captured"))
    assert model.repo.headSha == model.repo.head_sha == "5e7f29fffcc579cb52539fddb14a1a4f85f39e44"
    assert model.updatedRefs == model.updated_refs
    assert model.updated_refs is not None
    assert model.updated_refs[0].newSha == model.updated_refs[0].new_sha
    assert model.updated_refs[0].old_sha is model.updated_refs[0].oldSha is None


def test_absent_keys_read_as_none() -> None:
    model = WebhookPayload.model_validate(payload("handmade_minimal_comment_mcp_course"))
    assert model.repo.type is None and model.repo.headSha is None and model.movedTo is None
    assert model.discussion is not None and model.discussion.isPullRequest is None


def test_every_documented_key_has_its_place() -> None:
    pull = WebhookPayload.model_validate(payload("pr_create_v3_docs"))
    assert pull.discussion and pull.discussion.isPullRequest and pull.discussion.changes
    assert pull.discussion.changes.base == "refs/heads/main"
    assert pull.comment and pull.comment.url and pull.comment.url.web
    assert pull.webhook and pull.webhook.version == 3
    bucket = WebhookPayload.model_validate(payload("bucket_content_update_v3_docs"))
    assert bucket.updatedFiles and bucket.updatedFiles[0].xetHash and bucket.updatedFilesTruncated
    config = WebhookPayload.model_validate(payload("repo_config_xet_enabled_v3_built"))
    assert config.updatedConfig and config.updatedConfig.xetEnabled is True


def test_a_repo_that_moved_says_where() -> None:
    moved = payload("repo_update_v3_built") | {"movedTo": {"name": "me/new", "owner": {"id": "1"}}}
    model = WebhookPayload.model_validate(moved)
    assert model.movedTo.name == "me/new" and model.moved_to == model.movedTo


def test_unknown_words_and_keys_are_kept_and_reachable() -> None:
    content = payload("repo_create_v3_built")
    content["event"] = {"action": "archive", "scope": "repo.config.dois", "sentBy": "hub"}
    content["repo"]["type"] = "kernel"
    content["newThing"] = {"aB": [1]}
    model = WebhookPayload.model_validate(content)
    assert model.event.sentBy == model.event.sent_by == "hub"
    assert model.newThing == model.new_thing == {"aB": [1]}
    assert model.model_dump() == content


def test_a_key_that_is_not_there_is_an_attribute_error() -> None:
    repo = WebhookPayloadRepo(name="me/data")
    with pytest.raises(AttributeError, match="headSHA"):
        _ = repo.headSHA
    assert not hasattr(repo, "owners")


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"repo": {"name": "me/data"}},
        {"event": {"action": "update", "scope": "repo"}},
        {"event": {"action": "update"}, "repo": {"name": "me/data"}},
        {"event": {"action": "update", "scope": "repo"}, "repo": {}},
    ],
)
def test_only_event_and_repo_are_required(broken: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WebhookPayload.model_validate(broken)


def test_it_can_be_copied_pickled_and_built_by_name() -> None:
    model = WebhookPayload.model_validate(payload("pr_create_v3_docs"))
    assert copy.deepcopy(model) == pickle.loads(pickle.dumps(model)) == model
    assert WebhookPayloadRepo(name="me/x", head_sha="1") == WebhookPayloadRepo(
        name="me/x", headSha="1"
    )


def test_snake_case_and_absent_keys_come_on_request() -> None:
    model = WebhookPayload.model_validate(payload("repo_create_v3_built"))
    dumped = model.model_dump(by_alias=False, exclude_unset=False)
    assert dumped["repo"]["head_sha"] and dumped["updated_refs"] is None


EXTRA_KEYS = st.text(min_size=1).filter(lambda key: key not in ("event", "repo"))
SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(st.dictionaries(EXTRA_KEYS.map(lambda key: f"x{key}"), SCALARS))
def test_extra_keys_of_any_name_survive(extra: dict[str, object]) -> None:
    content = extra | {"event": {"action": "a", "scope": "b"}, "repo": {"name": "me/x"}}
    assert WebhookPayload.model_validate(content).model_dump() == content


def test_older_ways_to_read_it_have_the_hubs_keys_too() -> None:
    content = payload("repo_content_update_main_v3_captured")
    read = WebhookPayload(**content)
    assert read.dict() == content
    assert json.loads(read.json()) == content
    assert dict(read)["updatedRefs"][0].newSha == content["updatedRefs"][0]["newSha"]
