"""What paths mean: an endpoint, a page of the script's, or nothing."""

import asyncio
import re
from collections.abc import Callable, Iterable

from hfhooks.http.messages import Request
from hfhooks.http.passage import Site
from hfhooks.model.endpoint import PREFIX, Endpoint
from hfhooks.model.refusal import Refusal

__all__ = ["STARTING", "Paths"]

STARTING = {"retry-after": "5"}
LONGEST_COMPARED = 200
"""Characters of a path that are compared with those of endpoints."""
SLASHES = re.compile("/+")


class Paths:
    """The endpoints that deliveries are accepted for, and the `site` that has what else there is.

    `own` are paths that no site has; `wait` is how many seconds a sender is kept that comes before
    the endpoints are known.
    """

    def __init__(self, own: Iterable[str], wait: float) -> None:
        self._own = frozenset(own)
        self._wait = wait
        self._endpoints: dict[str, Endpoint] = {}
        self._site: Site | None = None
        self._are_known = False
        self.is_stopping = False
        self._waiting: dict[Callable[[], None], asyncio.TimerHandle] = {}
        """Who waits until the endpoints are known, and until when."""

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self._endpoints.values())

    def publish(self, endpoints: Iterable[Endpoint], site: Site | None, are_all: bool) -> None:
        """Accept deliveries for these endpoints from now on; see `Gateway.publish`."""
        self._endpoints = {endpoint.path: endpoint for endpoint in endpoints}
        self._site = site
        if are_all:
            self._know()

    def why_closed(self) -> list[str]:
        """Return why no delivery to any endpoint is accepted now, if so."""
        if self.is_stopping:
            return ["stopping"]
        return [] if self._are_known or self._endpoints else ["starting"]

    def stop(self) -> None:
        """Accept no further delivery."""
        self.is_stopping = True
        self._know()

    def is_endpoint(self, path: str) -> bool:
        return self._find(path) is not None

    def nearest(self, path: str) -> str | None:
        """Return the endpoint that a sender may have meant by a path where there is none."""
        from difflib import get_close_matches  # which nothing but an error needs

        names = {each.name.lower(): each.path for each in self._endpoints.values()}
        paths = {name.rpartition("/")[2]: path for name, path in names.items()} | names
        word = path[:LONGEST_COMPARED].strip("/").lower()
        first, _, rest = word.partition("/")
        if rest and get_close_matches(first, [PREFIX.strip("/")]):
            word = rest
        close = get_close_matches(word, paths, n=1)
        return paths[close[0]] if close else None

    def site_for(self, request: Request) -> Site | None:
        """Return the site that a request is for, None if it is for us."""
        site, path = self._site, request.path
        if site is None or path in self._own:
            return None
        is_theirs = site.has_page if path == "/" else self._find(path) is None
        return site if is_theirs else None

    def may_appear(self, path: str) -> bool:
        """Tell whether an endpoint may be at a path when they are known, and is not yet."""
        return not self._are_known and _is_below(path) and not self.is_endpoint(path)

    def when_known(self, then: Callable[[], None]) -> None:
        """Make a call when the endpoints are known, or after the wait."""
        loop = asyncio.get_running_loop()
        self._waiting[then] = loop.call_later(self._wait, self._call, then)

    def endpoint_at(self, path: str) -> Endpoint:
        """Return the endpoint at a path. Raises `Refusal` where there is none, or none any more."""
        if not _is_below(path):
            raise Refusal(404, "not_found")
        if self.may_appear(path):
            raise Refusal(503, "starting", STARTING)
        if self.is_stopping:
            raise Refusal(503, "stopping", STARTING)
        if endpoint := self._find(path):
            return endpoint
        raise Refusal(404, "not_found")

    def _know(self) -> None:
        self._are_known = True
        for then, timer in self._waiting.items():
            timer.cancel()
            asyncio.get_running_loop().call_soon(self._call, then)

    def _call(self, then: Callable[[], None]) -> None:
        if self._waiting.pop(then, None):
            then()

    def _find(self, path: str) -> Endpoint | None:
        if found := self._endpoints.get(path):
            return found
        path = _plain(path)
        # huggingface_hub puts the prefix before a path that has it already.
        doubled = path.removeprefix(PREFIX.rstrip("/"))
        return self._endpoints.get(path) or self._endpoints.get(doubled)


def _plain(path: str) -> str:
    """Return a path without slashes that are doubled, or at its end: they come of joining URLs."""
    return SLASHES.sub("/", path).rstrip("/")


def _is_below(path: str) -> bool:
    return path.startswith(PREFIX) or _plain(path).startswith(PREFIX)
