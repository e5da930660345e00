"""The only module that prints: text for a person on stderr, data for programs on stdout."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from hfhooks.console.terminal import COLOURS, Screen, Steady, safe
from hfhooks.errors import DiskError, HfhooksError, ReaderGone
from hfhooks.redact import redact
from hfhooks.tracebacks import users_lines

if TYPE_CHECKING:
    from hfhooks.dispatch.dispatcher import Outcome
    from hfhooks.journal.sqlite.records import Attempt, Delivery, Summary
    from hfhooks.serving.announce import RunningServer
    from hfhooks.serving.sender import Sent

__all__ = [
    "Check",
    "Console",
    "print_checks",
    "print_data",
    "print_deliveries",
    "print_delivery",
    "print_error",
    "print_note",
    "print_sent",
    "print_verdicts",
    "progress",
    "write_data",
]

HUB_SETTINGS = "https://huggingface.co/settings/webhooks"
ONLY_HERE = """\
Only this machine can reach it. For a public URL set NGROK_AUTHTOKEN (a free account will do), or
choose --tunnel cloudflared, --tunnel ssh --ssh-host localhost.run, or --public-url."""
OUTCOMES = {
    "ok": ("succeeded", "green"),
    "warning": ("retrying", "yellow"),
    "error": ("failed", "red"),
}
"""What checks come to, with the mark and the colour of each."""
COLUMNS = {
    "id": 4,
    "received": 14,
    "status": 11,
    "http": 4,
    "attempts": 8,
    "took": 7,
    "endpoint": 12,
    "event": 19,
    "repo": 0,
    "": 0,
}
"""The columns of `deliveries`, and how many characters each has at least."""


def print_data(line: str) -> None:
    """Print one line of what was asked for, on stdout. Raises `DiskError` if it was not taken."""
    stdout = Steady(sys.stdout)
    print(line, file=stdout, flush=True)  # printing is what this module is for
    stdout.check()


@dataclass(frozen=True)
class Check:
    """Something that was looked at."""

    status: str
    """`ok`, `warning` or `error`."""
    name: str
    text: str
    help: str | None = None
    """What to do about it."""


def print_checks(checks: Iterable[Check]) -> None:
    """Print what was found on stdout, with what to do about it."""
    screen = Screen(sys.stdout, is_data=True)
    for check in checks:
        outcome, colour = OUTCOMES[check.status]
        mark = f"{screen.marks[outcome]} {check.status:<8}"
        screen.line((mark, colour), f"{check.name:<9} {safe(check.text, 1000)}")
        if check.help:
            screen.line((f"{'':<20} {safe(check.help, 1000)}", "cyan"))


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Say on a terminal what is being done, for as long as it takes."""
    screen = Screen(sys.stderr)
    screen.in_place(text)
    try:
        yield
    finally:
        screen.in_place("")


def print_verdicts(verdicts: Sequence[tuple[str, str | None]], *, as_json: bool = False) -> None:
    """Print for each endpoint whether it wants an event, and if not why, on stdout."""
    screen = Screen(sys.stdout, is_data=True)
    for endpoint, why in verdicts:
        if as_json:
            print_data(json.dumps({"endpoint": endpoint, "wants": why is None, "reason": why}))
            continue
        status = "ignored" if why else "succeeded"
        mark = (screen.marks[status], COLOURS.get(status, ""))
        screen.line(mark, f" {safe(endpoint)}  {safe(why or 'wants it', 1000)}")


def write_data(content: bytes) -> None:
    """Write what was asked for on stdout as it is, nothing masked. Raises `DiskError`."""
    stream = sys.stdout.buffer
    try:
        stream.write(content)
        stream.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise ReaderGone("nobody reads what is printed.") from error
    except OSError as error:
        raise DiskError(f"stdout: {error.strerror}") from error


def print_deliveries(
    rows: Sequence["Summary"], *, as_json: bool = False, has_head: bool = True
) -> None:
    """Print a line for each delivery on stdout, below the names of the columns."""
    if as_json:
        for row in rows:
            print_data(json.dumps(_summary_json(row)))
        return
    screen = Screen(sys.stdout, is_data=True)
    cells = [_cells(row, screen.marks[row.status]) for row in rows]
    columns = zip(COLUMNS.values(), *cells, strict=True)
    widths = [max([least, *map(len, column)]) for least, *column in columns]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    if rows and has_head:
        head = "  ".join(name.ljust(width) for name, width in zip(COLUMNS, widths, strict=True))
        screen.line((head.rstrip(), "dim"))
    for row, (id, received, status, *rest) in zip(rows, padded, strict=True):
        coloured = (status, COLOURS.get(row.status, ""))
        screen.line(f"{id}  {received}  ", coloured, f"  {'  '.join(rest)}".rstrip())


def _cells(row: "Summary", mark: str) -> list[str]:
    return [
        str(row.id),
        time.strftime("%m-%d %H:%M:%S", time.localtime(row.received_at)),
        f"{mark} {row.status}",
        str(row.http_status or ""),
        str(row.attempts),
        "" if row.duration is None else _milliseconds(row.duration),
        safe(row.endpoint),
        safe(row.event or ""),
        safe(row.repo or ""),
        "replay" if row.is_replay else "",
    ]


def _summary_json(row: "Summary") -> dict[str, Any]:
    return {
        "id": row.id,
        "received_at": row.received_at,
        "endpoint": row.endpoint,
        "event": row.event,
        "repo": row.repo,
        "status": row.status,
        "http_status": row.http_status,
        "attempts": row.attempts,
        "duration_ms": None if row.duration is None else round(row.duration * 1000, 1),
        "replay": row.is_replay,
    }


def print_delivery(delivery: "Delivery", attempts: Sequence["Attempt"]) -> None:
    """Print all that is known of a delivery on stdout."""
    screen = Screen(sys.stdout, is_data=True)
    say = screen.line
    status = (
        f"{screen.marks[delivery.status]} {delivery.status}",
        COLOURS.get(delivery.status, ""),
    )
    what = f"  {delivery.endpoint}  {delivery.event or 'unknown event'}  {delivery.repo or ''}"
    say((f"#{delivery.id}  ", "bold"), status, safe(what.rstrip()))
    say(
        ("received  ", "dim"), _when(delivery.received_at), "  replay" if delivery.is_replay else ""
    )
    if delivery.query:
        say(("query  ", "dim"), safe(delivery.query, 1000))
    for name, value in delivery.headers:
        say((f"{safe(name)}  ", "dim"), safe(value, 1000))
    say()
    for line in _readable(delivery.body, screen.is_terminal).splitlines():
        say(safe(line, 10_000))
    for attempt in attempts:
        answer = "" if attempt.http_status is None else f" {attempt.http_status}"
        say()
        said = f"{attempt.status}{answer}  {_milliseconds(attempt.duration)}  "
        say((f"attempt {attempt.number}  ", "bold"), said, _when(attempt.started_at))
        text = attempt.error or attempt.answer.decode(errors="replace")
        for line in text.splitlines():
            say("    ", safe(line, 1000))


def _readable(payload: bytes, is_indented: bool) -> str:
    text = payload.decode(errors="replace")
    if is_indented:
        with suppress(ValueError, RecursionError):
            return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return text


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def print_error(error: HfhooksError) -> None:
    """Say what went wrong and what to do, in a line each, on stderr."""
    _print_error(Screen(sys.stderr), error)


def _print_error(screen: Screen, error: HfhooksError) -> None:
    screen.line(("error: ", "bold red"), safe(error, 1000))
    _print_trace(screen, getattr(error, "traceback", []))
    if error.help:
        screen.line(("help: ", "bold cyan"), safe(error.help, 1000))


def print_note(text: str) -> None:
    """Say something that a person should know, on stderr."""
    _print_note(Screen(sys.stderr), text)


def _print_note(screen: Screen, text: str) -> None:
    screen.line(("note: ", "bold yellow"), safe(text, 1000))


def print_sent(sent: "Sent") -> None:
    """Show what became of what was sent: a line on stderr, the handler's answer on stdout."""
    screen = Screen(sys.stderr)
    mark = f"{screen.marks[sent.status]} {sent.http_status} {sent.status}"
    line = f"  {sent.endpoint}  {_milliseconds(sent.seconds)}"
    line += f"  #{sent.id}" if sent.id else ""
    screen.line((mark, COLOURS.get(sent.status, "")), safe(line))
    if sent.status == "ignored" and sent.id:
        _print_note(screen, f"its filter does not match. To see why: hfhooks explain {sent.id}")
    text = redact(sent.body.decode(errors="replace"))  # before colours may part a secret
    if not sys.stdout.isatty():
        print_data(text)
    elif text:
        Screen(sys.stdout, is_data=True).answer(text)


class Console:
    """What `serve` says, in text or as JSON lines; the gateway's reporter.

    Text goes to `stream`. `how_to_stop` is what a person does to end it. If `verbose`, tracebacks
    have the frames of libraries.
    """

    def __init__(
        self,
        json_lines: bool = False,
        stream: TextIO | None = None,
        how_to_stop: str = "Press Ctrl-C to stop.",
        verbose: bool = False,
    ) -> None:
        self._json_lines = json_lines
        self._how_to_stop = how_to_stop
        self._verbose = verbose
        self._screen = Screen(stream or sys.stderr)

    def note(self, text: str) -> None:
        """Say something that a person should know now."""
        _print_note(self._screen, text)

    def error(self, error: HfhooksError) -> None:
        """Say what went wrong, and what to do."""
        _print_error(self._screen, error)

    def text(self, text: str) -> None:
        """Say what a person has asked for."""
        self._say(text)

    def ready(
        self, server: "RunningServer", open_endpoints: list[str], reloads: bool = False
    ) -> None:
        """Say that deliveries are accepted from now on. Names the endpoints without a secret."""
        if self._json_lines:
            described = server.described()
            endpoints = described.pop("endpoints")
            self._json(type="ready", **described, secret=not open_endpoints, endpoints=endpoints)
            return
        is_public = server.url != server.local_url
        self._say_secret(open_endpoints, len(server.endpoints), is_public)
        self._say(f"Running on local URL:  {server.local_url}")
        if is_public:
            self._say(f"Running on public URL: {server.url}")
            self._say_unencrypted(server.url)
        else:
            self._say(ONLY_HERE)
        self._say("\nWebhooks are ready:")
        for endpoint in server.endpoints:
            self._say_endpoint(endpoint)
        self._say(f"Set them up at {HUB_SETTINGS}")
        watching = "What you save is loaded at once. " if reloads else ""
        self._say(f"\n{watching}{self._how_to_stop}")

    def finished(self, outcome: "Outcome") -> None:
        """Show a delivery whose handler has run, with the traceback if it raised."""
        delivery, attempt = outcome.delivery, outcome.attempt
        after = outcome.retry_after
        reason = "" if after is None else f"again in {_duration(after)}"
        if outcome.is_amended:
            reason = "in the background, after the answer"
        elif outcome.is_recovered:
            reason = f"recovered  {reason}".rstrip()
        self._delivery(
            delivery,
            attempt.http_status or 500,
            attempt.number,
            attempt.duration,
            reason,
        )
        if attempt.error:
            lines = attempt.error.rstrip().splitlines()
            _print_trace(self._screen, lines if self._verbose else users_lines(lines))

    def ignored(self, delivery: "Delivery", reason: str) -> None:
        """Show a delivery that no filter let through, and why."""
        self._delivery(delivery, 200, 0, None, f"ignored: {reason}")

    def duplicate(self, delivery: "Delivery") -> None:
        """Show that the Hub sent again what it had sent before, and how to have it handled."""
        again = f"a duplicate; to run it again: hfhooks replay {delivery.id}"
        self._delivery(delivery, 200, 0, None, again)

    def full(self, reason: str | None) -> None:
        """Say that senders are turned away, and why; None when no longer."""
        if reason is None:
            self.note("deliveries are accepted again.")
        else:
            self.note(f"{reason} Until that changes deliveries are refused, which the Hub counts.")

    def refused(self, path: str, status: int, word: str, hint: str | None = None) -> None:
        """Show that somebody sent an endpoint what it does not accept, and what that may mean."""
        if not self._json_lines:
            self._line("refused", status, [path, word])
        if hint:
            self.note(hint)

    def reloaded(
        self,
        seconds: float,
        endpoints: list[dict[str, Any]],
        appeared: list[str],
        vanished: list[str],
    ) -> None:
        """Say that a new version of the scripts runs, and what is different."""
        if self._json_lines:
            duration = round(seconds * 1000, 1)
            self._json(type="reload", ok=True, duration_ms=duration, endpoints=endpoints)
        else:
            self._line("reloaded", None, [f"reloaded in {_milliseconds(seconds)}"])
            for sign, paths in (("+", appeared), ("-", vanished)):
                for path in paths:
                    self._say(f"  {sign} {path}")

    def broken(self, error: HfhooksError, has_worker: bool) -> None:
        """Say that the scripts cannot be loaded, and what happens until they can be."""
        place = {"file": getattr(error, "file", None), "line": getattr(error, "line", None)}
        if self._json_lines:
            reason = getattr(error, "reason", str(error))
            self._json(type="reload", ok=False, error=reason, **place)
        self.error(error)
        goes_on = "the version before goes on" if has_worker else "deliveries are kept"
        self.note(f"{goes_on} until a better one is saved.")

    def tunnel_up(self, server: "RunningServer", before: str | None) -> None:
        """Say that what is sent to the public URL arrives, and where it is another than before."""
        if self._json_lines:
            self._json(type="tunnel", state="up", url=server.url)
        elif server.url == before:
            self._line("up", None, [f"{server.url} is up again"])
        else:
            self._line("up", None, [f"the public URL is {server.url} now"])
            for endpoint in server.endpoints:
                self._say_endpoint(endpoint)
            self._say(f"Set it up at {HUB_SETTINGS}")
            self._say_unencrypted(server.url)

    def tunnel_down(self, url: str | None, why: str) -> None:
        """Say that nothing comes from outside."""
        if self._json_lines:
            self._json(type="tunnel", state="down", url=url)
        self.note(f"no public URL for now: {why.rstrip('.')}. Trying again.")

    def progress(self, text: str) -> None:
        """Say how far something is that takes long; on a terminal a percentage stays in place."""
        if "%" not in text:
            self.note(text)
        else:
            self._screen.in_place(text)

    def stopped(self) -> None:
        """Say that the server has ended."""
        if self._json_lines:
            self._json(type="stopped")
        else:
            self._say("Stopped.")

    def _delivery(
        self,
        delivery: "Delivery",
        http_status: int,
        attempt: int,
        duration: float | None,
        reason: str = "",
    ) -> None:
        if self._json_lines:
            self._json(
                type="delivery",
                id=delivery.id,
                endpoint=delivery.endpoint,
                event=delivery.event,
                repo=delivery.repo,
                status=delivery.status,
                http_status=http_status,
                attempt=attempt,
                duration_ms=None if duration is None else round(duration * 1000, 1),
                replay=delivery.is_replay,
            )
            return
        words = [
            delivery.endpoint,
            delivery.event or "unknown event",
            delivery.repo or "",
            "" if duration is None else _milliseconds(duration),
            f"attempt {attempt}" if attempt > 1 else "",
            reason,
            "replay" if delivery.is_replay else "",
            f"#{delivery.id}",
        ]
        self._line(delivery.status, http_status, words)

    def _line(self, status: str, http_status: int | None, words: list[str]) -> None:
        mark = self._screen.marks[status]
        if http_status is not None:
            mark += f" {http_status}"
        now = (time.strftime("%H:%M:%S"), "dim")
        rest = "  ".join(safe(word) for word in words if word)
        self._screen.line(now, "  ", (mark, COLOURS.get(status, "")), f"  {rest}")

    def _say_secret(self, open_endpoints: list[str], number: int, is_public: bool) -> None:
        if not open_endpoints:
            self._say("Webhook secret is set.")
            return
        which = "Webhook secret is not set"
        if len(open_endpoints) < number:
            which += f" for {', '.join(open_endpoints)}"
        if is_public:
            warning = f"WARNING: {which}, and the URL is public: anyone may call it."
            self._screen.line((warning, "bold red"))
        else:
            self._screen.line((f"{which}: anyone who knows a URL can call it.", "yellow"))
        self._say(
            "To set one: WEBHOOK_SECRET in the environment, or WebhooksServer(webhook_secret=…)"
        )
        self._say("About secrets: https://huggingface.co/docs/hub/webhooks#webhook-secret")

    def _say_unencrypted(self, url: str) -> None:
        if url.startswith("http:"):
            warning = "It is not encrypted (http): who listens in on the way can read the secret."
            self._screen.line((warning, "yellow"))

    def _say_endpoint(self, endpoint: Mapping[str, Any]) -> None:
        patterns = [*endpoint["on"], *endpoint["repo"], *endpoint["ref"]]
        wanted = f"   {' · '.join(patterns)}" if patterns else ""
        self._screen.line("  POST ", (endpoint["url"], "bold"), (wanted, "dim"))

    def _say(self, text: str) -> None:
        self._screen.line(text)

    def _json(self, **row: Any) -> None:
        with suppress(DiskError):
            print_data(json.dumps(row))


def _print_trace(screen: Screen, lines: Sequence[str]) -> None:
    if lines:
        screen.line(("\n".join("    " + safe(line, 500) for line in lines), "red"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
