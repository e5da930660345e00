"""What happens in these tests."""

from dataclasses import replace
from typing import Any

from hfhooks.model.delivery import Attempt, Recorded
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.events import Filter
from hfhooks.model.happenings import Finished
from hfhooks.model.running_server import RunningServer

DELIVERY = Recorded(
    endpoint="train",
    received_at=0,
    query="",
    headers=(),
    body=b"{}",
    event="repo.content:update",
    repo="dataset:me/data",
)
ATTEMPT = Attempt(1, 0, 0.0123, "succeeded", 200)
FAILED = Attempt(1, 0, 0.1, "raised", 500, error="busy")
OPEN = Published(Endpoint("train", Filter(("repo.content",), ("dataset:me/*",))), "nobody")
SERVER = RunningServer(
    pid=1,
    host="127.0.0.1",
    port=7860,
    url="http://127.0.0.1:7860",
    local_url="http://127.0.0.1:7860",
    inspector_url=None,
    tunnel=None,
    is_up=True,
    endpoints=[OPEN],
    wait=5,
    journal="sqlite:///j/journal.db",
    token="t0ken",
)
CLOSED = replace(SERVER, endpoints=[replace(OPEN, secrets_of="environment")])
ESCAPES = "\x1b]0;x\x07 \x9b31m \u202e \u2028 \ud800 [/red]"


def finished(
    attempt: Attempt = ATTEMPT,
    delivery: Recorded = DELIVERY,
    status: str = "succeeded",
    **values: Any,
) -> Finished:
    return Finished(17, delivery, attempt, status, **values)
