"""What happens in a server, as a person reads it."""

import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TextIO

from hfhooks.console.output import say_error, say_note, say_trace
from hfhooks.console.terminal import COLOURS, Screen, Soon, at_once, milliseconds, safe
from hfhooks.model.delivery import Recorded
from hfhooks.model.endpoint import PREFIX
from hfhooks.model.happenings import (
    Broken,
    Duplicate,
    Failed,
    Finished,
    Full,
    Happening,
    Ignored,
    Note,
    Progress,
    Ready,
    Refused,
    Reloaded,
    Stopped,
    TunnelDown,
    TunnelUp,
)
from hfhooks.model.running_server import RunningServer
from hfhooks.tracebacks import users_lines

__all__ = ["Notes", "Text"]

HUB_SETTINGS = "https://huggingface.co/settings/webhooks"
ABOUT_SECRETS = "https://huggingface.co/docs/hub/webhooks#webhook-secret"
SHORT = 200
"""Characters of a line that need no word cut."""
NOT_PUBLIC = """\
{} can reach it. For a public URL set NGROK_AUTHTOKEN (a free account will do), or
choose --tunnel cloudflared, --tunnel ssh --ssh-host localhost.run, or --public-url."""


class Notes:
    """Says what a person should know, also of a server that prints JSON for a program.

    Text goes to `stream`, of deliveries all lines of a moment together, which `soon` ends. If
    `verbose`, tracebacks have the frames of libraries.
    """

    def __init__(
        self, stream: TextIO | None = None, verbose: bool = False, soon: Soon = at_once
    ) -> None:
        self._verbose = verbose
        self._screen = Screen(stream or sys.stderr, soon=soon)
        self._counted: set[str] = set()
        """Endpoints of which was said that the Hub counts what they answer as failed."""

    def __call__(self, happening: Happening) -> None:
        match happening:
            case Finished():
                self._tell_more(happening)
            case Note(text) | Refused(hint=str(text)):
                say_note(self._screen, text)
            case Progress(text):
                self._progress(text)
            case Failed(error):
                say_error(self._screen, error)
            case Full(reason, endpoint):
                self._full(reason, f"deliveries to {endpoint}" if endpoint else "deliveries")
            case Broken(error, has_worker):
                say_error(self._screen, error)
                goes_on = "the version before goes on" if has_worker else "deliveries are kept"
                say_note(self._screen, f"{goes_on} until a better one is saved.")
            case TunnelDown(_, why):
                text = f"no public URL for now: {why.rstrip('.')}. Trying again."
                say_note(self._screen, text)

    def _tell_more(self, done: Finished) -> None:
        attempt, endpoint = done.attempt, done.delivery.endpoint
        if attempt.error and attempt.status == "succeeded" and not done.is_amended:
            text = f"{endpoint} #{done.id} ended well, and its answer cannot be sent"
            say_note(self._screen, f"{text}: {attempt.error.rstrip('.')}.")
        elif attempt.error:
            lines = attempt.error.rstrip().splitlines()
            say_trace(self._screen, lines if self._verbose else users_lines(lines))
        is_authors = attempt.status in ("succeeded", "refused") and not attempt.error
        if is_authors and (done.sent_status or 0) >= 300 and endpoint not in self._counted:
            self._counted.add(endpoint)
            text = f"{endpoint} answered {done.sent_status}, which the Hub counts as failed"
            say_note(self._screen, f"{text}. Whose deliveries fail again and again it suspends.")

    def _progress(self, text: str) -> None:
        """Say how far something is; on a terminal a percentage stays in place."""
        if "%" in text:
            self._screen.in_place(text)
        else:
            say_note(self._screen, text)

    def _full(self, reason: str | None, deliveries: str) -> None:
        refused = f"Until that changes {deliveries} are refused, which the Hub counts."
        text = f"{reason} {refused}" if reason else f"{deliveries} are accepted again."
        say_note(self._screen, text)


class Text(Notes):
    """Says all of it; `how_to_stop` is what a person does to end it."""

    def __init__(
        self,
        stream: TextIO | None = None,
        how_to_stop: str = "Press Ctrl-C to stop.",
        verbose: bool = False,
        soon: Soon = at_once,
    ) -> None:
        super().__init__(stream, verbose, soon)
        self._how_to_stop = how_to_stop

    def __call__(self, happening: Happening) -> None:
        match happening:
            case Finished():
                self._finished(happening)
            case Ignored(id, delivery, reason):
                self._delivery(id, delivery, "ignored", 200, f"ignored: {reason}")
            case Duplicate(id, delivery):
                again = f"a duplicate; to run it again: hfhooks replay {id}"
                self._delivery(id, delivery, "duplicate", 200, again)
            case Refused(path, status, word):
                self._line("refused", status, [path, word])
            case Ready(server, reloads):
                self._ready(server, reloads)
            case Reloaded():
                self._reloaded(happening)
            case TunnelUp(server, before):
                self._tunnel_up(server, before)
            case Stopped():
                self.say("Stopped.")
        super().__call__(happening)

    def say(self, text: str) -> None:
        """Say what a person has asked for."""
        self._screen.line(text)

    def _finished(self, done: Finished) -> None:
        attempt = done.attempt
        reason = "" if done.retry_after is None else f"again in {_duration(done.retry_after)}"
        if done.is_amended:
            reason = "in the background, after the answer"
        elif done.is_recovered:
            reason = f"recovered  {reason}".rstrip()
        number = f"attempt {attempt.number}" if attempt.number > 1 else ""
        words = (milliseconds(attempt.duration), number, reason)
        self._delivery(done.id, done.delivery, done.status, attempt.http_status or 500, *words)

    def _delivery(
        self, id: int, delivery: Recorded, status: str, http_status: int, *words: str
    ) -> None:
        event, repo = delivery.event or "unknown event", delivery.repo or ""
        replay = "replay" if delivery.origin == "replay" else ""
        line = [delivery.endpoint, event, repo, *words, replay, f"#{id}"]
        self._line(status, http_status, line)

    def _ready(self, server: RunningServer, reloads: bool) -> None:
        self._say_secret(server)
        self.say(f"Running on local URL:  {server.local_url}")
        if server.is_public:
            self.say(f"Running on public URL: {server.url}")
            self._say_unencrypted(server.url)
        else:
            who = "Only this machine" if server.is_only_here else "Other machines in its network"
            self.say(NOT_PUBLIC.format(who))
        self.say("\nWebhooks are ready:")
        self._say_endpoints(server)
        self.say(f"Set them up at {HUB_SETTINGS}")
        watching = "What you save is loaded at once. " if reloads else ""
        self.say(f"\n{watching}{self._how_to_stop}")

    def _reloaded(self, done: Reloaded) -> None:
        self._line("reloaded", None, [f"reloaded in {milliseconds(done.seconds)}"])
        for sign, paths in (("+", done.appeared), ("-", done.vanished)):
            for path in paths:
                self.say(f"  {sign} {path}")
        if done.server.is_public:
            names = _open_ones(done.server)
            opened = [name for name in names if PREFIX + name in done.appeared]
            self._say_open(done.server, opened)

    def _tunnel_up(self, server: RunningServer, before: str | None) -> None:
        if server.url == before:
            self._line("up", None, [f"{server.url} is up again"])
            return
        self._line("up", None, [f"the public URL is {server.url} now"])
        self._say_endpoints(server)
        self.say(f"Set it up at {HUB_SETTINGS}")
        self._say_open(server, _open_ones(server))
        self._say_unencrypted(server.url)

    def _line(self, status: str, http_status: int | None, words: list[str]) -> None:
        mark = self._screen.marks[status]
        if http_status is not None:
            mark += f" {http_status}"
        now = (_time_of_day(int(time.time())), "dim")
        rest = "  ".join(filter(None, words))
        if len(rest) > SHORT or not rest.isprintable():
            rest = "  ".join(safe(word) for word in words if word)
        self._screen.line_later(now, "  ", (mark, COLOURS.get(status, "")), f"  {rest}")

    def _say_secret(self, server: RunningServer) -> None:
        if not (open_ones := _open_ones(server)):
            self.say("Webhook secret is set.")
            return
        self._say_open(server, open_ones)
        self.say(
            "To set one: WEBHOOK_SECRET in the environment, or WebhooksServer(webhook_secret=…)"
        )
        self.say(f"About secrets: {ABOUT_SECRETS}")

    def _say_open(self, server: RunningServer, names: Sequence[str]) -> None:
        """Say that these endpoints, if any, have no secret."""
        if not names:
            return
        which = "Webhook secret is not set"
        if len(names) < len(server.endpoints):
            which += f" for {', '.join(names)}"
        if server.is_public:
            warning = f"WARNING: {which}, and the URL is public: anyone may call it."
            self._screen.line((warning, "bold red"))
        else:
            self._screen.line((f"{which}: anyone who knows a URL can call it.", "yellow"))

    def _say_unencrypted(self, url: str) -> None:
        if url.startswith("http:"):
            warning = "It is not encrypted (http): who listens in on the way can read the secret."
            self._screen.line((warning, "yellow"))

    def _say_endpoints(self, server: RunningServer) -> None:
        for each in server.endpoints:
            filter = each.endpoint.filter
            patterns = [*filter.on, *filter.repo, *filter.ref]
            wanted = f"   {' · '.join(patterns)}" if patterns else ""
            url = (server.url + each.endpoint.path, "bold")
            self._screen.line("  POST ", url, (wanted, "dim"))


def _open_ones(server: RunningServer) -> list[str]:
    """Return the names of the endpoints that have no secret."""
    return [each.endpoint.name for each in server.endpoints if not each.is_closed]


@lru_cache(maxsize=1)
def _time_of_day(at: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
