"""What is served now: a worker has the deliveries, and everybody knows the endpoints."""

import os
from collections.abc import Sequence
from contextlib import suppress

from hfhooks.dispatch.attempts import Worker
from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.errors import JournalError
from hfhooks.gateway.admission import Closed
from hfhooks.gateway.app import Gateway
from hfhooks.http.passage import Site
from hfhooks.journal import Journal
from hfhooks.model.delivery import Wanted
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.happenings import Broken, Happening, Note, Reloaded
from hfhooks.secret import environment_secrets
from hfhooks.serving.announce import Announcement
from hfhooks.tasks import Tasks

__all__ = ["Service"]


class Service:
    """Who is told by what runs the handlers; see `supervisor.WorkHost`."""

    def __init__(
        self,
        journal: Journal,
        gateway: Gateway,
        dispatcher: Dispatcher,
        announcement: Announcement,
        tasks: Tasks,
    ) -> None:
        self._journal, self._gateway, self._dispatcher = journal, gateway, dispatcher
        self._announcement = announcement
        self._tasks = tasks
        self._closed = Closed()
        self._is_broken = False
        """The scripts cannot be loaded as they are now."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        return self._announcement.endpoints

    def use(
        self,
        worker: Worker,
        endpoints: Sequence[Endpoint],
        site: Site | None,
        reloaded_in: float | None,
    ) -> None:
        """Give the deliveries to this worker from now on."""
        endpoints, opened = self._closed.keep(endpoints)
        for path in opened:
            what = f"{path} has no secret any more: senders still need the last one."
            self.tell(Note(f"{what} Start the server anew to let in everybody."))
        before, self._announcement.endpoints = self.endpoints, endpoints
        self._is_broken = False
        self._gateway.publish(endpoints, site)
        self._dispatcher.use(worker, endpoints)
        self._tasks.one("publishing", self._publish())
        if reloaded_in is not None:
            self._announcement.update()
            old, new = ({endpoint.path for endpoint in some} for some in (before, endpoints))
            appeared, vanished = sorted(new - old), sorted(old - new)
            self.tell(Reloaded(reloaded_in, self._announcement.described, appeared, vanished))
            self._tasks.one("retrying", self._retry_raised())

    def why_idle(self) -> str | None:
        """Return why no handler can be called now, in words that anybody may hear."""
        if self._dispatcher.has_worker:
            return None
        return "the scripts cannot be loaded" if self._is_broken else "no worker"

    def lose(self) -> None:
        """Hold the deliveries: no worker takes them."""
        self._dispatcher.lose()

    def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        """Note that what an attempt left to be done after its answer is done, or has failed."""
        self._dispatcher.outcomes.amend(id, number, error, status)

    def tell(self, happening: Happening) -> None:
        """Tell the subscribers."""
        self._is_broken |= isinstance(happening, Broken)
        if isinstance(happening, Broken) and not self.endpoints:
            self._tasks.one("recalling", self._recall())
        self._announcement.tell(happening)

    async def _publish(self) -> None:
        """Keep the endpoints, for a start at which the scripts are broken."""
        with suppress(JournalError):  # no room: it is needed only if the next start is such a one
            await self._journal.publish(self._announcement.published)

    async def _recall(self) -> None:
        """Accept deliveries for the endpoints of the last good version, while there is none."""
        environment = environment_secrets(os.environ)
        with suppress(JournalError):
            published = await self._journal.endpoints()
            known = [each.with_secrets(environment) for each in published]
            if not self.endpoints:
                self._gateway.publish([each for each in known if each], are_all=False)

    async def _retry_raised(self) -> None:
        """Make due what raised, as by a fault that is mended; what asked for a pause has it."""
        with suppress(JournalError):
            raised = Wanted(statuses=("retrying",), is_pause_asked=False)
            if retried := len(await self._journal.requeue(raised)):
                deliveries = "a delivery" if retried == 1 else f"{retried} deliveries"
                self.tell(Note(f"{deliveries} retried with the new code."))
