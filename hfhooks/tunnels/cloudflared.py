"""A quick tunnel of Cloudflare: no account, another name at each start."""

import re
from contextlib import AbstractAsyncContextManager

from hfhooks.settings import Settings
from hfhooks.tunnels.programs import find_program, opened_by
from hfhooks.tunnels.tunnel import Tell

__all__ = ["Cloudflared"]

URL = re.compile(r"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com")
INSTALL = "https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/"


class Cloudflared:
    name = "cloudflared"
    probe_every = 60.0
    must_answer = True

    def __init__(self, settings: Settings) -> None:
        self._program = find_program("cloudflared", f"Get it from {INSTALL}")

    def open(self, local_url: str, tell: Tell) -> AbstractAsyncContextManager[str]:
        command = [self._program, "tunnel", "--no-autoupdate", "--url", local_url]
        return opened_by(command, _url_in, tell)


def _url_in(line: str) -> str | None:
    found = URL.search(line)
    return found[0] if found else None
