"""The Hub's vocabulary of events, and the filters that choose among them.

Source: https://huggingface.co/docs/hub/webhooks#event.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

__all__ = ["ACTIONS", "REPO_TYPES", "Event", "Filter", "event_of", "nearest", "refs_of", "repo_of"]

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "repo": ("create", "delete", "update", "move"),
    "repo.content": ("update",),
    "repo.config": ("update",),
    "discussion": ("create", "delete", "update"),
    "discussion.comment": ("create", "update"),
}
"""Every documented scope with the actions the Hub sends for it."""

REPO_TYPES = ("model", "dataset", "space", "bucket", "kernel")


class Event(NamedTuple):
    """What happened: a scope (`repo.content`) and an action (`update`)."""

    scope: str
    action: str

    def __str__(self) -> str:
        return f"{self.scope}:{self.action}"

    def as_documented(self) -> "Event":
        """Return the documented event that stands for this one.

        The Hub asks handlers to take any action on a scope they do not know as an `update` of the
        broader scope: `repo.config.dois:create` counts as `repo.config:update`.
        """
        scope = self.scope
        while scope not in ACTIONS and "." in scope:
            scope = scope.rpartition(".")[0]
        return self if scope == self.scope or scope not in ACTIONS else Event(scope, "update")


def event_of(payload: Mapping[str, Any]) -> Event | None:
    """Return the event of a payload of version 3, or of version 2 where `event` is a string."""
    event = payload.get("event")
    if isinstance(event, dict):
        scope, action = event.get("scope"), event.get("action")
    else:
        scope, action = payload.get("scope"), event
    if isinstance(scope, str) and isinstance(action, str):
        return Event(scope, action)
    return None


def repo_of(payload: Mapping[str, Any]) -> str | None:
    """Return the repository as `type:owner/name`, without the type if the payload has none."""
    repo = payload.get("repo")
    if not isinstance(repo, dict) or not isinstance(repo.get("name"), str):
        return None
    name: str = repo["name"]
    return f"{repo['type']}:{name}" if isinstance(repo.get("type"), str) else name


def refs_of(payload: Mapping[str, Any]) -> list[str]:
    """Return the names of the refs that the event created, moved or deleted."""
    updated = payload.get("updatedRefs")
    refs = updated if isinstance(updated, list) else []
    names = [ref.get("ref") for ref in refs if isinstance(ref, dict)]
    return [name for name in names if isinstance(name, str)]


@dataclass(frozen=True)
class Filter:
    """Which events an endpoint wants; an empty part wants everything.

    `on`: `scope`, which includes its narrower scopes, or `scope:action`, which is exactly that
    event. `repo`: `type:owner/name` or `owner/name`, globs allowed. `ref`: a glob over full names
    such as `refs/heads/main`. Within a part one match is enough; every part must match.
    """

    on: tuple[str, ...] = ()
    repo: tuple[str, ...] = ()
    ref: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        on: str | Iterable[str] | None = None,
        repo: str | Iterable[str] | None = None,
        ref: str | Iterable[str] | None = None,
    ) -> "Filter":
        """Check and keep the patterns a script gave, one or several for each part.

        Raises `ValueError`, naming the nearest valid word, for a pattern that could never match.
        """
        return cls(
            tuple(_checked_on(pattern) for pattern in _patterns("on", on)),
            tuple(_checked_repo(pattern) for pattern in _patterns("repo", repo)),
            tuple(_checked_ref(pattern) for pattern in _patterns("ref", ref)),
        )

    def mismatch(self, payload: Mapping[str, Any]) -> str | None:
        """Return in words the first part that does not want this payload, None if all do."""
        if self.on:
            event = event_of(payload)
            if not (event and any(_event_matches(event, on) for on in self.on)):
                return f"event {event or 'unknown'} is not {' or '.join(self.on)}"
        if self.repo:
            repo = repo_of(payload)
            if not (repo and any(_repo_matches(repo, glob) for glob in self.repo)):
                return f"repo {repo or 'unknown'} is not {' or '.join(self.repo)}"
        if self.ref:
            refs = refs_of(payload)
            if not any(fnmatchcase(ref, glob) for ref in refs for glob in self.ref):
                return f"updated {' and '.join(refs) or 'no ref'}, not {' or '.join(self.ref)}"
        return None


def nearest(word: str, words: Collection[str]) -> str:
    """Return a question that offers the valid word nearest to a wrong one, or lists them all."""
    from difflib import get_close_matches  # which nothing but an error needs

    close = get_close_matches(word, words, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(words)}."


def _patterns(part: str, given: str | Iterable[str] | None) -> list[str]:
    if given is None:
        return []
    is_one = isinstance(given, str) or not isinstance(given, Iterable)
    patterns: list[Any] = [given] if is_one else list(given)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip():
            raise ValueError(f"{part}={pattern!r}: a filter is a text, or a list of texts.")
    return patterns


def _checked_on(pattern: str) -> str:
    scope, _, action = pattern.partition(":")
    if scope not in ACTIONS:
        raise ValueError(f"on={pattern!r}: unknown scope {scope!r}, {nearest(scope, ACTIONS)}")
    if ":" in pattern and action not in ACTIONS[scope]:
        hint = nearest(action, ACTIONS[scope])
        raise ValueError(f"on={pattern!r}: {scope!r} has no action {action!r}, {hint}")
    return pattern


def _checked_repo(pattern: str) -> str:
    kind, colon, name = pattern.rpartition(":")
    if colon and not any(fnmatchcase(known, kind) for known in REPO_TYPES):
        hint = nearest(kind, REPO_TYPES)
        raise ValueError(f"repo={pattern!r}: unknown repository type {kind!r}, {hint}")
    if not name:
        raise ValueError(f"repo={pattern!r}: no name; write {kind}:owner/name or {kind}:*.")
    return pattern


def _checked_ref(pattern: str) -> str:
    if not pattern.startswith(("refs/", "*", "?", "[")):
        full = f"refs/heads/{pattern}"
        raise ValueError(f"ref={pattern!r}: refs have full names, did you mean {full!r}?")
    return pattern


def _event_matches(event: Event, pattern: str) -> bool:
    scope, _, action = pattern.partition(":")
    if action:
        return event.as_documented() == Event(scope, action)
    return event.scope == scope or event.scope.startswith(f"{scope}.")


def _repo_matches(repo: str, pattern: str) -> bool:
    return fnmatchcase(repo if ":" in pattern else repo.rpartition(":")[2], pattern)
