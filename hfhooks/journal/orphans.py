"""What is left of endpoints that are not served any more."""

from collections.abc import Sequence

from hfhooks.journal import Reading
from hfhooks.model.delivery import UNFINISHED, Wanted

__all__ = ["orphans"]

MOST = 1_000_000


async def orphans(journal: Reading) -> Sequence[int]:
    """Return the deliveries that no handler will be called for, unless their endpoint returns.

    Those are none where nothing was ever served. Raises `JournalError`.
    """
    served = {each.endpoint.name for each in await journal.endpoints()}
    unfinished = await journal.list(Wanted(statuses=UNFINISHED, limit=MOST)) if served else []
    return [each.id for each in unfinished if each.endpoint not in served]
