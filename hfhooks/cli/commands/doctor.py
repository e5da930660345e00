"""`hfhooks doctor`: what is set, and what is wrong."""

import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfhooks.cli.journals import known_journals, now, reading, script_of, settings_of, state_root
from hfhooks.cli.options import AsJson
from hfhooks.console.output import print_data, progress
from hfhooks.console.tables import Check, print_checks
from hfhooks.errors import HfhooksError
from hfhooks.journal import Reading, engine_version
from hfhooks.private import check_private
from hfhooks.secret import advice, environment_secrets
from hfhooks.serving.owner import running_servers
from hfhooks.supervisor.targets import DEFAULT_SCRIPTS, find_targets
from hfhooks.version import __version__

if TYPE_CHECKING:
    from hfhooks.settings import Settings

ScriptToLoad = Annotated[
    str | None,
    typer.Argument(metavar="[SCRIPT]", help="A script to load; none is run that is not named."),
]

LIBRARIES = (
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic",
    "typer",
    "watchfiles",
    "pyngrok",
    "huggingface_hub",
    "gradio",
)
MOST_JOURNALS = 5


def doctor(script: ScriptToLoad = None, as_json: AsJson = False) -> None:
    """Look at what is set and what is there, and say what to do about what is wrong.

    Exits with 1 where something keeps a server from working.

    \b
    Examples:
      hfhooks doctor
      hfhooks doctor app.py --json
    """
    checks = list(_checks(script))
    if as_json:
        for check in checks:
            print_data(json.dumps(vars(check)))
    else:
        print_checks(checks)
    raise typer.Exit(1 if any(check.status == "error" for check in checks) else 0)


def _checks(script: str | None) -> Iterator[Check]:
    yield _python()
    yield from _guarded("secret", _secret)
    yield from _guarded("settings", lambda: _settings(script))
    yield from _guarded("state", lambda: _state(script))
    yield from _guarded("journals", lambda: _journals(script))
    yield from _guarded("servers", _servers)
    yield from _guarded("script", lambda: _script(script))
    yield from _guarded("hub", _hub)


def _guarded(name: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Turn what goes wrong in a check into its result."""
    try:
        yield from check()
    except (HfhooksError, OSError) as error:
        yield Check("error", name, str(error), getattr(error, "help", None))


def _python() -> Check:
    found = [f"{name} {found}" for name in LIBRARIES if (found := _version(name))]
    known = ", ".join([*found, engine_version()])
    system = f"{platform.system()} {platform.machine()}"
    text = f"hfhooks {__version__}, Python {platform.python_version()}, {system}; {known}"
    return Check("ok", "versions", text)


def _version(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None


def _secret() -> Iterator[Check]:
    secrets = environment_secrets(os.environ)
    if not secrets:
        help = "Set WEBHOOK_SECRET, and give the same value to the webhook on the Hub."
        text = "WEBHOOK_SECRET is not set: anyone who knows a URL can call it."
        yield Check("warning", "secret", text, help)
        return
    notes = list(advice(os.environ, secrets))
    yield Check("ok", "secret", "WEBHOOK_SECRET is set.")
    for note in notes:
        yield Check("warning", "secret", note)


def _settings(script: str | None) -> Iterator[Check]:
    settings = settings_of(script)
    if settings.ignored:
        yield Check("warning", "settings", settings.ignored)
    if settings.opened:
        yield Check("ok", "settings", settings.opened)
    yield _port(settings.host, settings.port)
    yield from _guarded("tunnel", lambda: _tunnel(settings))


def _port(host: str, port: int) -> Check:
    from hfhooks.http.listener import bind

    owner = next((server.pid for server in running_servers() if server.port == port), None)
    if owner:
        return Check("ok", "port", f"{port} is in use by hfhooks, process {owner}.")
    try:
        bind(host, port).close()
    except HfhooksError as error:
        help = "Stop the program that has it, or choose another: --port, HFHOOKS_PORT."
        return Check("error", "port", str(error), error.help or help)
    return Check("ok", "port", f"{port} is free.")


def _tunnel(settings: "Settings") -> Iterator[Check]:
    from hfhooks.tunnels import chosen, chosen_name

    chosen(settings)  # says what is missing for it
    name = chosen_name(settings)
    if name == "none":
        help = "Set NGROK_AUTHTOKEN, or choose --tunnel cloudflared, ssh, or --public-url."
        is_wanted = settings.tunnel == "none"
        text = "none is wanted." if is_wanted else "no public URL: NGROK_AUTHTOKEN is not set."
        yield Check("ok" if is_wanted else "warning", "tunnel", text, None if is_wanted else help)
    elif name == "ngrok":
        yield _ngrok()
    else:
        yield Check("ok", "tunnel", settings.public_url or settings.ssh_host or name)


def _ngrok() -> Check:
    from hfhooks.tunnels.ngrok import TOKEN_HELP, looked_at

    has_token, path, version = looked_at()
    if not has_token:
        return Check("error", "tunnel", "ngrok is chosen, and has no authtoken.", TOKEN_HELP)
    agent = f"its agent is {path}, version {version}" if version else "its agent is fetched"
    return Check("ok", "tunnel", f"ngrok, with an authtoken; {agent}.")


def _state(script: str | None) -> Iterator[Check]:
    root = state_root(script)
    check_private(root, is_ours=False)
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        yield Check("error", "state", f"{there} cannot be written to.", f"chmod u+w {there}")
        return
    free = shutil.disk_usage(there).free // (1024 * 1024)
    status = "ok" if free >= 64 else "error"
    yield Check(status, "state", f"{root}, {free} MiB free.")


def _journals(script: str | None) -> Iterator[Check]:
    found = known_journals(script)
    for url in found[:MOST_JOURNALS]:
        try:
            with reading(url) as journal:
                yield Check("ok", "journal", f"{script_of(url)}: {_holds(journal)}")
        except HfhooksError as error:
            yield Check("error", "journal", str(error), error.help)
    if not found:
        yield Check("ok", "journal", "none yet.")


def _holds(journal: Reading) -> str:
    """Say in a few words what is in it. Raises `JournalError` if it is damaged."""
    now(journal.check())
    numbers: Counter[str] = Counter()
    for (_, status), number in now(journal.counts()).items():
        numbers[status] += number
    return ", ".join(f"{numbers[status]} {status}" for status in sorted(numbers)) or "empty"


def _servers() -> Iterator[Check]:
    for server in running_servers():
        text = f"process {server.pid} at {server.url}, {len(server.endpoints)} endpoints"
        if server.is_up:
            yield Check("ok", "server", text)
        else:
            yield Check("error", "server", f"{text}: nothing arrives by its public URL.")


def _script(script: str | None) -> Iterator[Check]:
    if script is None:
        here = next((name for name in DEFAULT_SCRIPTS if Path(name).is_file()), None)
        if here:  # its code may be anybody's
            help = f"To load it: hfhooks doctor {here}"
            yield Check("ok", "script", f"{here} is here, and not run.", help)
        else:
            yield Check("ok", "script", "none in this folder.", "To write one: hfhooks init")
        return
    from hfhooks.serving.offline import endpoints_of

    targets = find_targets([script])
    with progress(f"loading {targets[0].label} …"):
        names = [endpoint.name for endpoint in endpoints_of(targets)]
    yield Check("ok", "script", f"{targets[0].label}: {', '.join(names)}")


def _hub() -> Iterator[Check]:
    from hfhooks.hub.client import account, has_token

    if not has_token():
        yield Check("ok", "hub", "no token is set, so the Hub is not asked.")
        return
    known = account()
    yield Check("ok", "hub", f"the token is that of {known.name}, with {known.webhooks} webhooks.")
    for url in known.disabled:
        help = "Enable it at https://huggingface.co/settings/webhooks"
        yield Check("warning", "hub", f"the webhook to {url} is disabled.", help)
