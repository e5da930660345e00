"""The typer app and the error boundary."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import wraps
from typing import Annotated, Any

import typer

from hfhooks import __version__
from hfhooks.commands.print_urls import print_urls
from hfhooks.commands.replay import replay
from hfhooks.commands.serve import serve
from hfhooks.console import print_data, print_error
from hfhooks.errors import HfhooksError
from hfhooks.worker.spawn import WorkerProcess

__all__ = ["app", "main"]

CTRL_C = 130

app = typer.Typer(
    name="hfhooks",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """Run the command line; exits with the codes of DESIGN.md."""
    try:
        with ExitStack() as stack:
            app(obj=_warm_worker(sys.argv[1:], stack))
    except KeyboardInterrupt:
        sys.exit(CTRL_C)


def _warm_worker(arguments: Sequence[str], stack: ExitStack) -> WorkerProcess | None:
    """Start the worker of `serve` before the command line is even read.

    Importing FastAPI there takes longer than everything else here: the two run side by side.
    """
    if arguments[:1] != ["serve"] or {"-h", "--help"}.intersection(arguments):
        return None
    return stack.enter_context(closing(WorkerProcess()))


def _command(function: Callable[..., None]) -> None:
    @wraps(function)
    def run(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except HfhooksError as error:
            print_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(CTRL_C) from error

    app.command(context_settings={"max_content_width": 100})(run)


for _function in (serve, replay, print_urls):
    _command(_function)


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
