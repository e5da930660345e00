"""The Hub's webhook payload, version 3, read leniently because the Hub's format grows.

Source: https://huggingface.co/docs/hub/webhooks#webhook-payloads. Vocabularies that the Hub may
extend (actions, scopes, repo types, statuses) are plain strings, keys that are not documented are
kept, and only what no handler can do without is required. Every key can be read under its own name
(`repo.headSha`) and in snake case (`repo.head_sha`).
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

__all__ = [
    "ObjectId",
    "WebhookPayload",
    "WebhookPayloadComment",
    "WebhookPayloadDiscussion",
    "WebhookPayloadDiscussionChanges",
    "WebhookPayloadEvent",
    "WebhookPayloadMovedTo",
    "WebhookPayloadRepo",
    "WebhookPayloadUpdatedConfig",
    "WebhookPayloadUpdatedFile",
    "WebhookPayloadUpdatedRef",
    "WebhookPayloadUrl",
    "WebhookPayloadWebhook",
]


class _HubModel(BaseModel):
    """A JSON object of the Hub: its keys are camel case, those unknown to us are kept."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="allow",
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    def __getattr__(self, name: str) -> Any:
        """Return a key under its other spelling: `headSha` for `head_sha`, and the reverse."""
        if not name.startswith("_"):
            for field, info in type(self).model_fields.items():
                if info.alias == name:
                    return getattr(self, field)
            if (camel := to_camel(name)) in (extra := self.model_extra or {}):
                return extra[camel]
        # pydantic hides its own __getattr__ from type checkers
        return super().__getattr__(name)  # type: ignore[misc]

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Return what came in: the Hub's own keys, and none that it did not send.

        `by_alias=False` gives snake case, `exclude_unset=False` adds absent keys as None.
        """
        return super().model_dump(**{"exclude_unset": True, **options})

    def model_dump_json(self, **options: Any) -> str:
        """Return what came in, as JSON; see `model_dump`."""
        return super().model_dump_json(**{"exclude_unset": True, **options})

    def __iter__(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override] # pydantic's is odd
        """Yield every key under its own name, as for `dict(payload)`."""
        for name, value in super().__iter__():
            info = type(self).model_fields.get(name)
            yield (info.alias if info and info.alias else name), value

    def json(self, **options: Any) -> str:
        """Return what came in, as JSON; see `model_dump`."""
        return self.model_dump_json(**options)

    def dict(self, **options: Any) -> Any:
        """Return what came in; see `model_dump`, of which this is the older name."""
        return self.model_dump(**options)


class ObjectId(_HubModel):
    id: str


class WebhookPayloadUrl(_HubModel):
    web: str | None = None
    api: str | None = None


class WebhookPayloadEvent(_HubModel):
    action: str
    """`create`, `delete`, `update` or `move`, so far."""
    scope: str
    """`repo`, `repo.content`, `repo.config`, `discussion` or `discussion.comment`, so far."""


class WebhookPayloadRepo(_HubModel):
    name: str
    """`owner/name`."""
    type: str | None = None
    """`model`, `dataset`, `space` or `bucket`, so far."""
    id: str | None = None
    private: bool | None = None
    url: WebhookPayloadUrl | None = None
    owner: ObjectId | None = None
    head_sha: str | None = None
    """Head of the main branch, not of the updated ref; sent on scopes that start with `repo`."""
    tags: list[str] | None = None
    subdomain: str | None = None
    """Spaces only."""


class WebhookPayloadDiscussionChanges(_HubModel):
    base: str | None = None
    merge_commit_id: str | None = None


class WebhookPayloadDiscussion(_HubModel):
    num: int | None = None
    title: str | None = None
    id: str | None = None
    url: WebhookPayloadUrl | None = None
    status: str | None = None
    """`draft`, `open`, `closed` or `merged`, so far."""
    author: ObjectId | None = None
    is_pull_request: bool | None = None
    changes: WebhookPayloadDiscussionChanges | None = None
    pinned: bool | None = None


class WebhookPayloadComment(_HubModel):
    id: str | None = None
    author: ObjectId | None = None
    content: str | None = None
    """Absent when the comment is hidden."""
    hidden: bool | None = None
    url: WebhookPayloadUrl | None = None


class WebhookPayloadWebhook(_HubModel):
    id: str | None = None
    version: int | None = None


class WebhookPayloadMovedTo(_HubModel):
    name: str | None = None
    owner: ObjectId | None = None


class WebhookPayloadUpdatedRef(_HubModel):
    ref: str
    """`refs/heads/main`, `refs/pr/5`, `refs/tags/v1`."""
    old_sha: str | None = None
    """None when the ref was created."""
    new_sha: str | None = None
    """None when the ref was deleted."""


class WebhookPayloadUpdatedConfig(_HubModel):
    private: bool | None = None
    xet_enabled: bool | None = None


class WebhookPayloadUpdatedFile(_HubModel):
    path: str
    action: str | None = None
    """`add` or `delete`, so far."""
    xet_hash: str | None = None
    size: int | None = None
    """Bytes."""


class WebhookPayload(_HubModel):
    """One event of the Hub, as the webhook sent it.

    Raises pydantic's `ValidationError` when `event` (scope and action) or `repo` (name) is
    missing, or a documented key has another type than documented.
    """

    event: WebhookPayloadEvent
    repo: WebhookPayloadRepo
    discussion: WebhookPayloadDiscussion | None = None
    comment: WebhookPayloadComment | None = None
    webhook: WebhookPayloadWebhook | None = None
    moved_to: WebhookPayloadMovedTo | None = None
    updated_refs: list[WebhookPayloadUpdatedRef] | None = None
    updated_config: WebhookPayloadUpdatedConfig | None = None
    updated_files: list[WebhookPayloadUpdatedFile] | None = None
    """Buckets only."""
    updated_files_truncated: bool | None = None
