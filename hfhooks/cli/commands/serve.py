"""`hfhooks serve`: the main job."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hfhooks.cli.completion import words
from hfhooks.cli.keyboard import has_keyboard
from hfhooks.console.json_lines import JsonLines
from hfhooks.console.output import print_note
from hfhooks.console.text import Notes, Text
from hfhooks.supervisor.spawn import Spawned
from hfhooks.supervisor.targets import code_of, find_targets

Scripts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SCRIPT_OR_MODULE",
        help="Scripts, modules or folders. Default: handlers.py, app.py or main.py here.",
    ),
]


def _setting(name: str, help: str, default: str = "", *names: str, **options: Any) -> Any:
    """Return an option whose help has its default and the variable that sets it too."""
    variable = f"HFHOOKS_{name.upper()}"
    also = f"default: {default}; env: {variable}" if default else f"env: {variable}"
    return typer.Option(*names, help=f"{help} [{also}]", show_default=False, **options)


Host = Annotated[str | None, _setting("host", "Address to listen on.", "127.0.0.1")]
Port = Annotated[
    int | None, _setting("port", "Port to listen on; 0 takes a free one.", "7860", metavar="PORT")
]
InspectorPort = Annotated[
    int | None,
    _setting(
        "inspector_port",
        "Port for metrics, on this machine only; 0 takes a free one.",
        "0",
        metavar="PORT",
    ),
]
MaxBody = Annotated[
    str | None,
    _setting(
        "max_body",
        "Largest body that is accepted; one above 4MiB keeps others waiting.",
        "4MiB",
        metavar="SIZE",
    ),
]
Wait = Annotated[
    float | None,
    _setting(
        "wait",
        "How long a sender is kept for the handler's own answer before it gets 202.",
        "5",
        metavar="SECONDS",
    ),
]
Grace = Annotated[
    float | None,
    _setting(
        "grace",
        "What running handlers get when the server stops.",
        "15",
        metavar="SECONDS",
    ),
]
Tunnel = Annotated[
    str | None,
    _setting(
        "tunnel",
        "How the internet reaches this machine; auto is ngrok if NGROK_AUTHTOKEN is set.",
        "auto",
        metavar="auto|ngrok|cloudflared|ssh|none",
        autocompletion=words("auto", "ngrok", "cloudflared", "ssh", "none"),
    ),
]
Domain = Annotated[
    str | None, _setting("domain", "Domain of your ngrok account to use.", metavar="NAME")
]
SshHost = Annotated[
    str | None,
    _setting(
        "ssh_host", "Where --tunnel ssh forwards from: localhost.run, me@host.", metavar="HOST"
    ),
]
PublicUrl = Annotated[
    str | None,
    _setting(
        "public_url", "Public URL that a reverse proxy of yours forwards to here.", metavar="URL"
    ),
]
Reload = Annotated[
    bool | None,
    _setting(
        "reload",
        "Load the scripts again when they are saved.",
        "at a terminal",
        "--reload/--no-reload",
    ),
]
Watch = Annotated[
    list[Path] | None,
    _setting("watch", "Load them again when this file or folder changes too.", metavar="PATH"),
]
Verbose = Annotated[
    bool | None,
    _setting(
        "verbose",
        "Show tracebacks whole, with the frames of libraries.",
        "off",
        "--verbose/--no-verbose",
    ),
]
StateDir = Annotated[
    Path | None,
    _setting(
        "state_dir",
        "Where deliveries are recorded.",
        "hfhooks in the user's state folder",
        metavar="FOLDER",
    ),
]
Journal = Annotated[
    str | None,
    _setting(
        "journal",
        "URL of the journal to record them in.",
        "one of this script's own, in the state folder",
        metavar="URL",
    ),
]
KeepDays = Annotated[
    float | None,
    _setting("keep_days", "Delete finished deliveries that are older.", "30", metavar="DAYS"),
]
KeepDeliveries = Annotated[
    int | None,
    _setting("keep_deliveries", "Delete the oldest beyond so many.", "10000", metavar="NUMBER"),
]
KeepMib = Annotated[
    float | None,
    _setting("keep_mib", "Delete the oldest beyond so many MiB.", "256", metavar="MIB"),
]
AsJsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line on stdout, for programs.")
]


def serve(
    context: typer.Context,
    scripts: Scripts = None,
    host: Host = None,
    port: Port = None,
    inspector_port: InspectorPort = None,
    max_body: MaxBody = None,
    wait: Wait = None,
    grace: Grace = None,
    tunnel: Tunnel = None,
    domain: Domain = None,
    ssh_host: SshHost = None,
    public_url: PublicUrl = None,
    reload: Reload = None,
    watch: Watch = None,
    verbose: Verbose = None,
    state_dir: StateDir = None,
    journal: Journal = None,
    keep_days: KeepDays = None,
    keep_deliveries: KeepDeliveries = None,
    keep_mib: KeepMib = None,
    json_lines: AsJsonLines = False,
) -> None:
    """Serve the webhook handlers of scripts.

    Every option can also be set as HFHOOKS_<OPTION> in the environment or under [tool.hfhooks] in
    pyproject.toml; the secret comes from WEBHOOK_SECRET.

    \b
    Examples:
      hfhooks serve app.py
      hfhooks serve app.py bots/ --port 8000
      hfhooks serve app.py --reload --watch labels.json
      hfhooks serve app.py --tunnel ngrok --domain my-hooks.ngrok-free.dev
      hfhooks serve app.py --tunnel ssh --ssh-host localhost.run
      hfhooks serve app.py --public-url https://hooks.example.com
      WEBHOOK_SECRET=... hfhooks serve my_package.handlers --json
    """
    with closing(context.obj or Spawned()) as process:
        targets = find_targets(scripts or [])
        # A worker is warming up meanwhile: what this process needs is imported beside it.
        from hfhooks.serving.program import serve_until_signal
        from hfhooks.settings import load_settings
        from hfhooks.tasks import soon

        settings = load_settings(
            code_of(targets[0]),
            Path(targets[0].folders[0]),
            host=host,
            port=port,
            inspector_port=inspector_port,
            max_body=max_body,
            wait=wait,
            grace=grace,
            tunnel=tunnel,
            domain=domain,
            ssh_host=ssh_host,
            public_url=public_url,
            reload=reload,
            watch=watch or None,
            verbose=verbose,
            state_dir=state_dir,
            journal=journal,
            keep_days=keep_days,
            keep_deliveries=keep_deliveries,
            keep_mib=keep_mib,
        )
        for note in settings.notes:
            print_note(note)
        names = (scripts or [], targets, settings, process)
        if json_lines:
            code = serve_until_signal(*names, [JsonLines(soon), Notes(verbose=settings.verbose)])
        elif has_keyboard():
            from hfhooks.cli.keys import attended

            how_to_stop = "Press Ctrl-C to stop, h for other keys."
            text = Text(how_to_stop=how_to_stop, verbose=settings.verbose, soon=soon)
            code = serve_until_signal(*names, [text], partial(attended, text))
        else:
            code = serve_until_signal(*names, [Text(verbose=settings.verbose, soon=soon)])
        raise typer.Exit(code)
