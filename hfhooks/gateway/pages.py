"""The landing page."""

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, Template

from hfhooks import __version__
from hfhooks.endpoints import Endpoint

__all__ = ["landing_page"]


def landing_page(endpoints: Sequence[Endpoint], url: str) -> str:
    """Return the page that says what this server is and how to send it events."""
    return _template("landing.html").render(endpoints=endpoints, url=url, version=__version__)


@cache
def _template(name: str) -> Template:
    loader = PackageLoader("hfhooks.gateway", "templates")
    return Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(name)
