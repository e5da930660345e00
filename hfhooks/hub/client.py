"""Whose token this is, and which of the account's webhooks do not work."""

import os
from dataclasses import dataclass

from hfhooks.errors import HfhooksError

__all__ = ["Account", "HubError", "account", "has_token"]


class HubError(HfhooksError):
    """The Hub cannot be asked, or does not know the token."""

    exit_code = 4


@dataclass(frozen=True)
class Account:
    """What the Hub says of a token."""

    name: str
    webhooks: int
    disabled: tuple[str, ...]
    """URLs of those that the Hub sends nothing to."""


def has_token() -> bool:
    """Tell whether there is a token, in the environment or as `hf auth login` has kept it."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
    return get_token() is not None


def account() -> Account:
    """Ask the Hub about the token in force. Raises `HubError`."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        text = "huggingface_hub is not installed."
        raise HubError(text, "pip install huggingface_hub") from error
    api = HfApi()
    try:
        name = str(api.whoami()["name"])
        webhooks = api.list_webhooks()
    except Exception as error:  # the library has many, of more than one HTTP client
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise HubError(f"the Hub does not answer, or not to this token: {reason}") from error
    disabled = tuple(str(webhook.url) for webhook in webhooks if webhook.disabled)
    return Account(name, len(webhooks), disabled)
