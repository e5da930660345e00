"""What the shell offers when a person presses Tab.

Nothing may be said there, so what goes wrong offers nothing. A shell may run what it is offered, so
nothing that a sender or a file's name has said is: plain words alone, and deliveries by their time.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TypeAlias

__all__ = ["delivery_ids", "endpoint_names", "event_names", "words"]

Offer: TypeAlias = str | tuple[str, str]
"""A word, with what it means."""
MOST = 30
"""Deliveries that are offered, the newest first."""
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:/-]*")
"""What means nothing but itself to every shell, and is no option."""


def _quietly(find: Callable[[], Iterator[Offer]]) -> Callable[[str], list[Offer]]:
    @wraps(find)
    def offer(incomplete: str) -> list[Offer]:
        try:
            return [each for each in find() if _is_offered(_word(each), incomplete)]
        except Exception:  # noqa: BLE001 # whatever it is, here nobody can do anything about it
            return []

    offer.__annotations__ = {"incomplete": str, "return": list}  # typer reads them
    del offer.__wrapped__  # and would read those of `find`
    return offer


def _is_offered(word: str, incomplete: str) -> bool:
    return word.startswith(incomplete) and PLAIN.fullmatch(word) is not None


def _word(offer: Offer) -> str:
    return offer if isinstance(offer, str) else offer[0]


@_quietly
def endpoint_names() -> Iterator[Offer]:
    """Offer the endpoints of the running servers, or of the one that ran last."""
    from hfhooks.cli.journals import known_journals, now, reading  # which no command needs here
    from hfhooks.serving.owner import running_servers

    if servers := running_servers():
        known = [each for server in servers for each in server.endpoints]
    else:
        with reading(known_journals()[0]) as journal:
            known = list(now(journal.endpoints()))
    yield from dict.fromkeys(each.endpoint.name for each in known)


@_quietly
def delivery_ids() -> Iterator[Offer]:
    """Offer the newest deliveries, each with the time when it came."""
    from hfhooks.cli.journals import known_journals, now, reading
    from hfhooks.model.delivery import Wanted
    from hfhooks.serving.owner import running_servers

    servers = running_servers()
    with reading(servers[0].journal if servers else known_journals()[0]) as journal:
        for row in now(journal.list(Wanted(limit=MOST))):
            yield str(row.id), time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.received_at))


@_quietly
def event_names() -> Iterator[Offer]:
    """Offer the events that `trigger` sends."""
    from hfhooks.model.samples import SAMPLES

    yield from SAMPLES.items()


def words(*offered: str) -> Callable[[str], list[Offer]]:
    """Offer these."""
    return _quietly(lambda: iter(offered))
