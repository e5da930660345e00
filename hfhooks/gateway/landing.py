"""The landing page."""

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, Template

from hfhooks.model.endpoint import Endpoint
from hfhooks.version import __version__

__all__ = ["landing_page"]


def landing_page(endpoints: Sequence[Endpoint], url: str, is_public: bool) -> str:
    """Return the page that says what this server is and how to send it events."""
    template = _template("landing.html")
    return template.render(endpoints=endpoints, url=url, is_public=is_public, version=__version__)


@cache
def _template(name: str) -> Template:
    loader = PackageLoader("hfhooks.gateway", "templates")
    return Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(name)
