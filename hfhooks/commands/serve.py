"""`hfhooks serve`: the main job."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from hfhooks.console import Console
from hfhooks.worker.loading import find_targets
from hfhooks.worker.spawn import WorkerProcess

Scripts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SCRIPT_OR_MODULE",
        help="Scripts, modules or folders. Default: handlers.py, app.py or main.py here.",
    ),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 7860]")
]
InspectorPort = Annotated[
    int | None,
    typer.Option(help="Port for metrics, on this machine only. [default: 0, which is a free one]"),
]
MaxBody = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Largest body that is accepted. [default: 1MiB]"),
]
Wait = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="How long a sender is kept for the handler's own answer before it gets 202. "
        "[default: 5]",
    ),
]
Tunnel = Annotated[
    str | None,
    typer.Option(
        metavar="auto|ngrok|cloudflared|ssh|none",
        help="How the internet reaches this machine. [default: auto, which is ngrok if "
        "NGROK_AUTHTOKEN is set]",
    ),
]
Domain = Annotated[
    str | None, typer.Option(metavar="NAME", help="Domain of your ngrok account to use.")
]
SshHost = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="Where --tunnel ssh forwards from: localhost.run, me@host."),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Public URL that a reverse proxy of yours forwards to here."),
]
Reload = Annotated[
    bool | None,
    typer.Option(
        "--reload/--no-reload",
        show_default=False,
        help="Load the scripts again when they are saved. [default: at a terminal]",
    ),
]
Watch = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Load them again when this file or folder changes too."),
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where deliveries are recorded. [default: hfhooks in the user's state folder]",
    ),
]
Grace = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="What running handlers get when the server stops. [default: 15]"
    ),
]
KeepDays = Annotated[
    float | None,
    typer.Option(metavar="DAYS", help="Delete finished deliveries that are older. [default: 30]"),
]
KeepDeliveries = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", help="Delete the oldest beyond so many. [default: 10000]"),
]
KeepMib = Annotated[
    float | None,
    typer.Option(metavar="MIB", help="Delete the oldest beyond so many MiB. [default: 256]"),
]
JsonLines = Annotated[
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
    state_dir: StateDir = None,
    keep_days: KeepDays = None,
    keep_deliveries: KeepDeliveries = None,
    keep_mib: KeepMib = None,
    json_lines: JsonLines = False,
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
    with closing(context.obj or WorkerProcess()) as process:
        targets = find_targets(scripts or [])
        # A worker is warming up meanwhile: what this process needs is imported beside it.
        from hfhooks import serving
        from hfhooks.settings import load_settings

        settings = load_settings(
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
            state_dir=state_dir,
            keep_days=keep_days,
            keep_deliveries=keep_deliveries,
            keep_mib=keep_mib,
        )
        raise typer.Exit(
            serving.serve(scripts or [], targets, settings, process, Console(json_lines))
        )
