import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.model.events import ACTIONS, Event, Filter, event_of, refs_of, repo_of
from tests.harness import PAYLOADS, payload


@pytest.mark.parametrize(
    ("on", "event", "is_wanted"),
    [
        # A scope includes its narrower scopes, known or not, whatever the action.
        ("repo", "repo:create", True),
        ("repo", "repo.content:update", True),
        ("repo", "repo.config.dois:create", True),
        ("repo", "repository:create", False),
        ("repo", "discussion:create", False),
        ("repo.content", "repo:update", False),
        ("repo.config", "repo.config:update", True),
        ("repo.config", "repo.config.dois:create", True),
        ("discussion", "discussion.comment:create", True),
        ("discussion.comment", "discussion:create", False),
        # With an action it is exactly that event.
        ("repo:create", "repo:create", True),
        ("repo:create", "repo:delete", False),
        ("repo:update", "repo.content:update", False),
        ("discussion:create", "discussion.comment:create", False),
        ("repo.content:update", "repo.content:update", True),
        # The fallback rule: any action on an unknown narrower scope is an update of the broader.
        ("repo.config:update", "repo.config.dois:create", True),
        ("repo.config:update", "repo.config.dois.minted:delete", True),
        ("repo:update", "repo.branches:create", True),
        ("repo:create", "repo.branches:create", False),
        ("discussion:update", "discussion.reaction:create", True),
        # It is no licence for actions the Hub may add to known scopes, nor for new broad scopes.
        ("repo:update", "repo:archive", False),
        ("repo", "repo:archive", True),
        ("repo", "organization.member:create", False),
    ],
)
def test_on_wants_what_the_hub_documents(on: str, event: str, is_wanted: bool) -> None:
    scope, _, action = event.partition(":")
    mismatch = Filter.of(on=on).mismatch({"event": {"scope": scope, "action": action}})
    assert (mismatch is None) is is_wanted


@pytest.mark.parametrize(
    ("pattern", "repo", "is_wanted"),
    [
        ("dataset:me/data", "dataset:me/data", True),
        ("dataset:me/data", "model:me/data", False),
        ("me/data", "dataset:me/data", True),
        ("me/data", "model:me/data", True),
        ("me/data", "me/data", True),
        ("dataset:me/data", "me/data", False),
        ("me/*", "space:me/demo", True),
        ("me/*", "space:you/demo", False),
        ("dataset:*", "dataset:you/anything", True),
        ("*:me/data", "bucket:me/data", True),
        ("*/data-v[12]", "dataset:me/data-v2", True),
        ("me/Data", "dataset:me/data", False),
    ],
)
def test_repo_wants_type_and_name(pattern: str, repo: str, is_wanted: bool) -> None:
    kind, _, name = repo.rpartition(":")
    content = {"repo": {"name": name} | ({"type": kind} if kind else {})}
    assert (Filter.of(repo=pattern).mismatch(content) is None) is is_wanted


@pytest.mark.parametrize(
    ("pattern", "refs", "is_wanted"),
    [
        ("refs/heads/main", ["refs/heads/main"], True),
        ("refs/heads/main", ["refs/pr/1"], False),
        ("refs/pr/*", ["refs/pr/1"], True),
        ("refs/tags/v*", ["refs/heads/main", "refs/tags/v1"], True),
        ("*", [], False),
    ],
)
def test_ref_wants_one_of_the_updated_refs(pattern: str, refs: list[str], is_wanted: bool) -> None:
    content = {"updatedRefs": [{"ref": ref} for ref in refs]}
    assert (Filter.of(ref=pattern).mismatch(content) is None) is is_wanted


def test_of_several_patterns_in_a_part_one_is_enough() -> None:
    events = Filter.of(on=["discussion", "repo.content"], repo=("me/*", "you/*"))
    content = {
        "event": {"scope": "repo.content", "action": "update"},
        "repo": {"type": "model", "name": "you/bert"},
    }
    assert events.mismatch(content) is None


def test_every_part_must_want_the_payload() -> None:
    content = payload("repo_content_update_main_v3_captured")
    wanted = {"on": "repo.content", "repo": "coyotte508/*", "ref": "refs/heads/main"}
    assert Filter.of(**wanted).mismatch(content) is None
    for part, other in (("on", "discussion"), ("repo", "me/*"), ("ref", "refs/tags/*")):
        assert Filter.of(**wanted | {part: other}).mismatch(content)


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"on": "discussion"}, "event repo.content:update is not discussion"),
        ({"repo": ["me/a", "me/b"]}, "repo model:coyotte508/test-s3 is not me/a or me/b"),
        ({"ref": "refs/pr/*"}, "updated refs/heads/main, not refs/pr/*"),
    ],
)
def test_a_mismatch_names_both_values(filters: dict[str, str], words: str) -> None:
    assert Filter.of(**filters).mismatch(payload("repo_content_update_main_v3_captured")) == words


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"on": "repo.contents"}, "unknown scope 'repo.contents', did you mean 'repo.content'?"),
        ({"on": "push"}, "unknown scope 'push', valid: repo, repo.content"),
        ({"on": "repo.content:updated"}, "no action 'updated', did you mean 'update'?"),
        ({"on": "repo.content:create"}, "'repo.content' has no action 'create'"),
        ({"on": "repo:"}, "'repo' has no action ''"),
        ({"on": ""}, "on='': a filter is a text"),
        ({"on": 3}, "on=3: a filter is a text"),
        ({"on": ["repo", None]}, "on=None: a filter is a text"),
        ({"repo": "datasets:me/x"}, "unknown repository type 'datasets', did you mean 'dataset'?"),
        ({"repo": "dataset:"}, "no name; write dataset:owner/name"),
        ({"ref": "main"}, "did you mean 'refs/heads/main'?"),
    ],
)
def test_a_pattern_that_could_never_match_is_refused(filters: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=r"\w+=") as caught:
        Filter.of(**filters)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "event", "repo"),
    [
        ("pr_create_v3_docs", "discussion:create", "model:openai-community/gpt2"),
        ("bucket_content_update_v3_docs", "repo.content:update", "bucket:some-user/some-bucket"),
        (
            "handmade_minimal_comment_mcp_course",
            "discussion.comment:create",
            "test-user/test-model",
        ),
        ("v2_comment_add_captured", "discussion.comment:add", "dataset:allenai/c4"),
    ],
)
def test_event_and_repo_of_old_and_new_payloads(name: str, event: str, repo: str) -> None:
    assert str(event_of(payload(name))) == event
    assert repo_of(payload(name)) == repo


def test_every_sample_payload_has_an_event_and_a_repo() -> None:
    for path in PAYLOADS:
        assert event_of(payload(path.stem)) and repo_of(payload(path.stem)), path.name


KEYS = st.sampled_from(["event", "scope", "action", "repo", "type", "name", "updatedRefs", "ref"])
LEAVES = st.sampled_from([None, True, 0, "", "repo", "repo.content", "update", "refs/heads/main"])
OBJECTS = st.dictionaries(KEYS, LEAVES | st.lists(LEAVES, max_size=2), max_size=3)
ODD_PAYLOADS = st.dictionaries(KEYS, LEAVES | OBJECTS | st.lists(OBJECTS | LEAVES, max_size=2))


@given(ODD_PAYLOADS)
def test_no_payload_however_odd_breaks_a_filter(content: dict[str, object]) -> None:
    event_of(content), repo_of(content), refs_of(content)
    Filter.of(on="repo", repo="me/*", ref="refs/*").mismatch(content)


def test_documented_events_stand_for_themselves() -> None:
    for scope, actions in ACTIONS.items():
        for action in actions:
            assert Event(scope, action).as_documented() == Event(scope, action)
