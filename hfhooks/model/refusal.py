"""A request that is not accepted."""

from collections.abc import Mapping

__all__ = ["Refusal"]


class Refusal(Exception):
    """The status and the one word that its sender is told; `hint` is for the server's owner."""

    def __init__(
        self,
        status: int,
        word: str,
        headers: Mapping[str, str] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(word)
        self.status = status
        self.word = word
        self.headers = headers or {}
        self.hint = hint
