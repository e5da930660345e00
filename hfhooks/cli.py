"""The typer app and the error boundary."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from hfhooks import __version__
from hfhooks.commands.deliveries.change import prune, retry
from hfhooks.commands.deliveries.export import export
from hfhooks.commands.deliveries.listing import list_deliveries
from hfhooks.commands.deliveries.show import show
from hfhooks.commands.doctor import doctor
from hfhooks.commands.explain import explain
from hfhooks.commands.init import init
from hfhooks.commands.print_urls import print_urls
from hfhooks.commands.replay import replay
from hfhooks.commands.serve import serve
from hfhooks.commands.trigger import trigger
from hfhooks.console import print_data, print_error
from hfhooks.errors import HfhooksError, MachineError

__all__ = ["app"]

app = typer.Typer(
    name="hfhooks",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that turns errors into a line and an exit code."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except (HfhooksError, OSError) as error:
            explained = MachineError.of(error) if isinstance(error, OSError) else error
            print_error(explained)
            raise typer.Exit(explained.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error

    return run


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
COMMANDS: tuple[Callable[..., None], ...] = (
    init,
    serve,
    trigger,
    replay,
    explain,
    print_urls,
    doctor,
)
for _function in COMMANDS:
    app.command(context_settings=SETTINGS)(_guarded(_function))

deliveries = typer.Typer(rich_markup_mode=None, context_settings=SETTINGS)
deliveries.callback(invoke_without_command=True)(_guarded(list_deliveries))
OF_DELIVERIES: tuple[Callable[..., None], ...] = (show, export, retry, prune)
for _function in OF_DELIVERIES:
    deliveries.command(context_settings=SETTINGS)(_guarded(_function))
app.add_typer(deliveries, name="deliveries")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print_data(f"hfhooks {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Serve Hugging Face webhook handlers from plain Python scripts."""
