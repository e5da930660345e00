"""Has a model of its own for what it wants."""

from huggingface_hub import webhook_endpoint
from pydantic import BaseModel


class Repo(BaseModel):
    name: str


class Event(BaseModel):
    repo: Repo


@webhook_endpoint
def own_model(event: Event) -> str:
    return event.repo.name
