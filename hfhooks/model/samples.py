"""Realistic payloads of every event, by the Hub's documented rules.

Sources: https://huggingface.co/docs/hub/webhooks#webhook-payloads, and payloads that were captured.
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha1, sha256
from typing import Any

from hfhooks.model.events import ACTIONS, REPO_TYPES, Event, nearest

__all__ = ["SAMPLES", "changes_of", "edited", "sample", "samples"]

HUB = "https://huggingface.co"
MAIN = "refs/heads/main"
SAMPLES: Mapping[str, str] = {
    "repo:create": "a repository is created",
    "repo:delete": "a repository is deleted",
    "repo:update": "a repository is changed otherwise",
    "repo:move": "a repository gets another name or owner",
    "repo.content:update": "a push, to a branch, a tag (--ref) or a pull request (--pr)",
    "repo.config:update": "settings are changed, such as --private",
    "discussion:create": "a discussion, or with --pr a pull request, is opened",
    "discussion:delete": "a discussion is deleted",
    "discussion:update": "a discussion is closed, or with --pr a pull request merged",
    "discussion.comment:create": "somebody comments",
    "discussion.comment:update": "a comment is edited; --set comment.hidden=true hides it",
}
"""What each event is about."""
FOLDERS = {"model": "", "dataset": "datasets/", "space": "spaces/", "bucket": "buckets/"}
NUMBER = 7
"""Of the discussion or pull request."""


def sample(
    event: str,
    repo: str = "model:some-user/some-repo",
    *,
    ref: str | Iterable[str] = (),
    pr: bool = False,
    comment: str | None = None,
    private: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a payload as the Hub sends it for this event, such as `repo.content:update`.

    `repo` is `type:owner/name`, of a model where there is no type. `ref` is what a push updates,
    `refs/heads/main` unless `pr`. `pr` makes a discussion a pull request. `changes` are values by
    dotted keys: `{"repo.name": "me/x"}`. Raises `ValueError`, naming the nearest valid word.
    """
    wanted = _event(event)
    kind, name = _repo(repo)
    if kind == "bucket" and wanted.scope.startswith("discussion"):
        raise ValueError(f"{event}: a bucket has no discussions.")
    refs = [ref] if isinstance(ref, str) else list(ref)
    payload: dict[str, Any] = {
        "event": {"action": wanted.action, "scope": wanted.scope},
        "repo": _described(kind, name, private, is_of_repo=wanted.scope.startswith("repo")),
    }
    if wanted.scope.startswith("discussion"):
        payload["discussion"] = _discussion(payload["repo"], wanted, pr)
        if "comment" in wanted.scope or wanted.action == "create":
            payload["comment"] = _comment(payload["discussion"], comment)
    elif wanted.scope == "repo.content" and kind == "bucket":
        payload["updatedFiles"] = _files(name)
    elif wanted.scope == "repo.content":
        default = f"refs/pr/{NUMBER}" if pr else MAIN
        payload["updatedRefs"] = [_ref(payload["repo"], one) for one in refs or [default]]
    elif wanted.scope == "repo.config":
        payload["updatedConfig"] = {"private": private}
    elif wanted.action == "move":
        owner = name.partition("/")[0]
        payload["movedTo"] = {"name": f"{owner}/renamed", "owner": {"id": _id(owner)}}
    _check_used(payload, event, ref=refs, pr=pr, comment=comment)
    payload["webhook"] = {"id": _id("webhook"), "version": 3}
    return edited(payload, changes or {})


def samples(event: str, repo: str, *, pr: bool = False, **options: Any) -> list[dict[str, Any]]:
    """Return what the Hub sends when that happens: a pull request updates its ref, too."""
    first = sample(event, repo, pr=pr, **options)
    if not (pr and event == "discussion:create"):
        return [first]
    push = sample("repo.content:update", repo, pr=True, private=options.get("private", False))
    changes = options.get("changes") or {}
    its_own = {key: value for key, value in changes.items() if key.partition(".")[0] in push}
    return [first, edited(push, its_own)]


def edited(payload: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with other values, by dotted keys; None takes a key away.

    Raises `ValueError` for a key below what is no object, or one that seems to be mistyped.
    """
    copy: dict[str, Any] = json.loads(json.dumps(payload))
    for key, value in changes.items():
        *path, last = key.split(".")
        place = copy
        for step in path:
            _check_key(key, step, place)
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise ValueError(f"{key}: {step} is no object in this payload.")
        _check_key(key, last, place)
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    comment = copy.get("comment")
    if isinstance(comment, dict) and comment.get("hidden") is True:
        comment.pop("content", None)  # the Hub does not send what is hidden
    return copy


def _check_key(key: str, step: str, place: Mapping[str, Any]) -> None:
    """Accept a key that is there, or new, but none that is like one that is there."""
    if step in place:
        return
    from difflib import get_close_matches  # which nothing but a new key needs

    if close := get_close_matches(step, place, n=1, cutoff=0.7):
        known = set().union(*(_keys(sample(event)) for event in SAMPLES))
        if step not in known:
            raise ValueError(f"--set {key}: there is no {step!r}, did you mean {close[0]!r}?")


def _keys(value: Any) -> set[str]:
    """Return all keys in a payload."""
    if isinstance(value, dict):
        return value.keys() | set().union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def changes_of(texts: Iterable[str]) -> dict[str, Any]:
    """Return `key=value` texts as changes; a value is JSON, or else a text. Raises `ValueError`."""
    changes: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"--set {text}: write KEY=VALUE.")
        try:
            changes[key] = json.loads(value)
        except ValueError:
            changes[key] = value
    return changes


def _check_used(
    payload: Mapping[str, Any], event: str, *, ref: Any, pr: bool, comment: Any
) -> None:
    """Refuse what this event does not have. Raises `ValueError`."""
    has_pr = "discussion" in payload or "updatedRefs" in payload
    asked = {
        "ref": (ref, "updatedRefs" in payload, "a push has refs: repo.content:update"),
        "pr": (pr, has_pr, "discussions and pushes are of pull requests"),
        "comment": (comment, "comment" in payload, "comments are in discussion.comment:create"),
    }
    for name, (value, is_there, where) in asked.items():
        if value and not is_there:
            raise ValueError(f"{event} of this repository has no {name}; {where}.")


def _event(text: str) -> Event:
    scope, _, action = text.partition(":")
    if scope not in ACTIONS:
        raise ValueError(f"unknown event {text!r}, {nearest(text, SAMPLES)}")
    if action not in ACTIONS[scope]:
        of_scope = [f"{scope}:{known}" for known in ACTIONS[scope]]
        raise ValueError(f"unknown event {text!r}, {nearest(text, of_scope)}")
    return Event(scope, action)


def _repo(text: str) -> tuple[str, str]:
    kind, colon, name = text.rpartition(":")
    kind = kind if colon else "model"
    if kind not in REPO_TYPES:
        raise ValueError(f"unknown repository type {kind!r}, {nearest(kind, REPO_TYPES)}")
    owner, slash, rest = name.partition("/")
    if not (owner and slash and rest) or "/" in rest:
        raise ValueError(f"{text!r} is no repository; write {kind}:owner/name.")
    return kind, name


def _described(kind: str, name: str, private: bool, *, is_of_repo: bool) -> dict[str, Any]:
    path = FOLDERS.get(kind, f"{kind}s/") + name
    repo: dict[str, Any] = {
        "type": kind,
        "name": name,
        "id": _id(f"{kind}:{name}"),
        "private": private,
        "url": {"web": f"{HUB}/{path}", "api": f"{HUB}/api/{kind}s/{name}"},
        "owner": {"id": _id(name.partition("/")[0])},
    }
    if kind == "space":
        repo["subdomain"] = name.lower().replace("/", "-").replace("_", "-").replace(".", "-")
    if is_of_repo and kind != "bucket":
        repo["headSha"] = _sha(f"{name} {MAIN}")
    return repo


def _discussion(repo: dict[str, Any], event: Event, pr: bool) -> dict[str, Any]:
    url = repo["url"]
    is_over = str(event) == "discussion:update"
    discussion: dict[str, Any] = {
        "id": _id(f"{repo['name']}#{NUMBER}"),
        "title": "Update the card" if pr else "A question",
        "url": {name: f"{base}/discussions/{NUMBER}" for name, base in url.items()},
        "status": ("merged" if pr else "closed") if is_over else "open",
        "author": {"id": _id("author")},
        "isPullRequest": pr,
        "num": NUMBER,
    }
    if pr:
        discussion["changes"] = {"base": MAIN}
        if is_over:
            discussion["changes"]["mergeCommitId"] = _sha(f"{repo['name']} {MAIN}")
    return discussion


def _comment(discussion: dict[str, Any], content: str | None) -> dict[str, Any]:
    id = _id(f"{discussion['id']} comment")
    return {
        "id": id,
        "author": {"id": _id("author")},
        "content": "What is this?" if content is None else content,
        "hidden": False,
        "url": {"web": f"{discussion['url']['web']}#{id}"},
    }


def _ref(repo: dict[str, Any], ref: str) -> dict[str, Any]:
    if not ref.startswith("refs/"):
        raise ValueError(f"refs have full names, did you mean 'refs/heads/{ref}'?")
    is_new = ref.startswith(("refs/pr/", "refs/tags/"))
    old = None if is_new else _sha(f"{repo['name']} {ref} before")
    return {"ref": ref, "oldSha": old, "newSha": _sha(f"{repo['name']} {ref}")}


def _files(name: str) -> list[dict[str, Any]]:
    digest = sha256(name.encode()).hexdigest()
    return [
        {"path": "data/train.txt", "action": "add", "xetHash": digest, "size": 20},
        {"path": "data/old.txt", "action": "delete"},
    ]


def _id(of: str) -> str:
    """Return what looks like an id of the Hub's, the same for the same thing."""
    return sha256(of.encode()).hexdigest()[:24]


def _sha(of: str) -> str:
    return sha1(of.encode(), usedforsecurity=False).hexdigest()
