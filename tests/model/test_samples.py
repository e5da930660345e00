"""Samples obey the Hub's documented rules."""

import json
from typing import Any

import pytest
from huggingface_hub import WebhookPayload as HubPayload

from hfhooks import WebhookPayload
from hfhooks.model.events import ACTIONS, REPO_TYPES, event_of, repo_of
from hfhooks.model.samples import SAMPLES, edited, sample, samples

TYPES = ("model", "dataset", "space")
"""What huggingface_hub's own model knows."""
PUSHES = [("repo.content:update", kind) for kind in TYPES]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (event, kind)
        for event in SAMPLES
        for kind in REPO_TYPES
        if kind != "bucket" or event.startswith("repo")  # it has no discussions
    ],
)
@pytest.mark.parametrize("pr", [False, True])
def test_every_event_has_one_that_the_models_take(event: str, kind: str, pr: bool) -> None:
    is_of_pr = pr and (event.startswith("discussion") or (event, kind) in PUSHES)
    payload = sample(event, f"{kind}:me/thing", pr=is_of_pr)
    assert str(event_of(payload)) == event
    assert repo_of(payload) == f"{kind}:me/thing"
    assert WebhookPayload(**payload).model_dump(by_alias=True) == payload
    if kind in TYPES:
        HubPayload.model_validate(payload)


def test_there_is_one_for_every_event_of_the_table() -> None:
    known = {f"{scope}:{action}" for scope, actions in ACTIONS.items() for action in actions}
    assert set(SAMPLES) == known


@pytest.mark.parametrize("event", SAMPLES)
def test_the_head_is_sent_for_repositories_alone(event: str) -> None:
    assert ("headSha" in sample(event)["repo"]) is event.startswith("repo")
    if event.startswith("repo"):
        assert "headSha" not in sample(event, "bucket:me/files")["repo"]


def test_the_head_is_that_of_main() -> None:
    pushed = sample("repo.content:update")
    assert pushed["updatedRefs"][0]["newSha"] == pushed["repo"]["headSha"]
    of_pr = sample("repo.content:update", pr=True)
    assert of_pr["updatedRefs"][0]["ref"] == "refs/pr/7"
    assert of_pr["updatedRefs"][0]["newSha"] != of_pr["repo"]["headSha"]
    assert of_pr["updatedRefs"][0]["oldSha"] is None


def test_a_pull_request_updates_its_ref_too() -> None:
    first, second = samples("discussion:create", "dataset:me/data", pr=True, comment="Please")
    assert first["discussion"]["isPullRequest"] is True
    assert first["comment"]["content"] == "Please"
    assert second["updatedRefs"][0]["ref"] == f"refs/pr/{first['discussion']['num']}"
    assert len(samples("discussion:create", "dataset:me/data")) == 1


def test_changes_count_for_what_has_them() -> None:
    changes = {"discussion.title": "Mine", "repo.private": True}
    first, second = samples("discussion:create", "me/x", pr=True, changes=changes)
    assert (first["discussion"]["title"], first["repo"]["private"]) == ("Mine", True)
    assert ("discussion" in second, second["repo"]["private"]) == (False, True)


def test_a_bucket_has_files_and_no_refs() -> None:
    payload = sample("repo.content:update", "bucket:me/files")
    assert "updatedRefs" not in payload
    assert [file["action"] for file in payload["updatedFiles"]] == ["add", "delete"]


def test_a_hidden_comment_has_no_content() -> None:
    payload = sample("discussion.comment:update", changes={"comment.hidden": True})
    assert "content" not in payload["comment"]


def test_a_space_has_a_subdomain() -> None:
    assert sample("repo:update", "space:Me/My_App")["repo"]["subdomain"] == "me-my-app"


def test_a_merged_pull_request_has_a_commit() -> None:
    discussion = sample("discussion:update", pr=True)["discussion"]
    assert discussion["status"] == "merged"
    assert discussion["changes"]["mergeCommitId"]
    assert sample("discussion:update")["discussion"]["status"] == "closed"


def test_several_refs_may_be_pushed_at_once() -> None:
    refs = ["refs/heads/main", "refs/tags/v1"]
    payload = sample("repo.content:update", ref=refs)
    assert [updated["ref"] for updated in payload["updatedRefs"]] == refs


def test_the_same_thing_has_the_same_ids() -> None:
    assert sample("repo:update", "model:me/x") == sample("repo:update", "model:me/x")
    assert sample("repo:update", "model:me/x") != sample("repo:update", "model:me/y")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"event": "repo.contents:update"}, "did you mean 'repo.content:update'?"),
        ({"event": "repo.content"}, "did you mean 'repo.content:update'?"),
        ({"event": "repo.content:create"}, "did you mean 'repo.content:update'?"),
        ({"event": "push"}, "valid: repo:create"),
        ({"repo": "datasets:me/x"}, "did you mean 'dataset'?"),
        ({"repo": "gpt2"}, "write model:owner/name"),
        ({"repo": "model:a/b/c"}, "write model:owner/name"),
        ({"ref": "main"}, "did you mean 'refs/heads/main'?"),
        ({"changes": {"repo.name.first": 1}}, "name is no object"),
        ({"event": "repo:create", "ref": "refs/heads/main"}, "repo:create of this repository has"),
        ({"event": "repo.config:update", "pr": True}, "has no pr;"),
        ({"comment": "hello"}, "comments are in discussion.comment:create"),
        ({"event": "discussion:update", "comment": "hello"}, "has no comment;"),
        ({"repo": "bucket:me/x", "ref": "refs/heads/main"}, "has no ref;"),
        ({"repo": "bucket:me/x", "event": "discussion:create"}, "a bucket has no discussions."),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_word(given: dict[str, Any], said: str) -> None:
    with pytest.raises(
        ValueError, match=r"unknown|no repository|full names|no object|has no"
    ) as caught:
        sample(**{"event": "repo.content:update", **given})
    assert said in str(caught.value)


def test_a_key_that_is_mistyped_is_no_new_one() -> None:
    payload = sample("discussion.comment:create")
    for key, meant in (("repo.nme", "name"), ("rpeo.name", "repo"), ("comment.contnet", "content")):
        with pytest.raises(ValueError, match=f"{key}: there is no .*, did you mean '{meant}'?"):
            edited(payload, {key: "x"})
    for key in ("repo.subdomain", "updatedRefs", "comment.hidden", "repo.mine", "movedTo.name"):
        edited(payload, {key: None})


def test_edits_change_add_and_take_away() -> None:
    payload = {"a": {"b": 1, "c": 2}}
    changed = edited(payload, {"a.b": 5, "a.c": None, "d.e": [1]})
    assert changed == {"a": {"b": 5}, "d": {"e": [1]}}
    assert payload == {"a": {"b": 1, "c": 2}}
    assert json.dumps(changed)
