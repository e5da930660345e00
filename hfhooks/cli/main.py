"""The typer app and the error boundary."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from hfhooks.console.output import print_data, print_error
from hfhooks.errors import Fault, HfhooksError, MachineError, ReaderGone, UsageError
from hfhooks.model.events import nearest
from hfhooks.version import __version__

if TYPE_CHECKING:
    from hfhooks.supervisor.spawn import Spawned

__all__ = ["COMMANDS", "OF_DELIVERIES", "run"]

CTRL_C = 130
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
OPTIONS: Mapping[str, Any] = {
    "context_settings": SETTINGS,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


@dataclass(frozen=True)
class Command:
    """Where a command is, in `hfhooks.cli.commands`, and what a list of them says of it."""

    module: str
    summary: str


COMMANDS = {
    "init": Command("init", "Write a script to start from, which runs as it is."),
    "serve": Command("serve", "Serve the webhook handlers of scripts."),
    "trigger": Command("trigger", "Send a realistic event to the running server."),
    "replay": Command("replay", "Have payloads and recorded deliveries handled again."),
    "deliveries": Command("deliveries.listing", "Show what came in and what became of it."),
    "explain": Command("explain", "Say why an endpoint wants an event, or does not."),
    "print-urls": Command("print_urls", "Print the URL of every endpoint of the running server."),
    "doctor": Command("doctor", "Look at what is set and what is there, and what is wrong."),
}
OF_DELIVERIES = {
    "show": Command("deliveries.show", "Show a delivery, and every attempt at it."),
    "export": Command("deliveries.export", "Print a delivery as a file that can be replayed."),
    "retry": Command("deliveries.change", "Have deliveries handled again that failed."),
    "cancel": Command("deliveries.change", "End deliveries that wait or run."),
    "prune": Command("deliveries.change", "Delete deliveries that are finished."),
}


NUMBERS = {int: re.compile("-?[0-9]{1,9}"), float: re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")}
"""What is a number for everybody."""


class Sparing:
    """Has only checked what must be: typer imports pydantic for that, which takes 0.1 s."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters of a command."""
        parameters = super().get_params(ctx)  # type: ignore[misc] # it is mixed into a command
        for parameter in parameters:
            if "process_value" not in vars(parameter):
                parameter.process_value = partial(_checked, parameter, parameter.process_value)
        return parameters


def _checked(parameter: Any, check: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    if (value is None or value is parameter.default) and not parameter.required:
        return value
    wanted = parameter.type_descriptor
    if parameter.callback is None and value:
        if wanted.annotation is str and isinstance(value, str):
            return value
        if wanted.annotation == list[str]:
            return list(value)
        number = NUMBERS.get(wanted.annotation)
        if number and not wanted.is_ranged and number.fullmatch(str(value)):
            return wanted.annotation(value)
    try:
        return check(context, value)
    except typer.BadParameter as error:
        if refusal := _why_no_number(parameter, value):
            raise UsageError(refusal, _see(context)) from error
        raise


def _why_no_number(parameter: Any, value: Any) -> str | None:
    """Return why a value is none that a number may have; None where no number is wanted."""
    wanted, limits = parameter.type_descriptor, parameter.type_descriptor.parameter_info
    kind = int if wanted.annotation in (int, list[int]) else wanted.annotation
    if kind not in NUMBERS or value is None:
        return None
    is_option = parameter.param_type_name == "option"
    name = parameter.opts[-1] if is_option else parameter.metavar.strip("[].")
    for each in value if isinstance(value, list | tuple) else [value]:
        if not NUMBERS[kind].fullmatch(str(each)):
            what = "a whole number" if kind is int else "a number"
            return f"{name} {each}: {what} is needed."
        if limits.min is not None and kind(each) < limits.min:
            return f"{name} {each}: it is at least {limits.min}."
        if limits.max is not None and kind(each) > limits.max:
            return f"{name} {each}: it is at most {limits.max}."
    return None


def _see(context: Any) -> str | None:
    return f"See: {context.command_path} --help" if context else None


class OneCommand(Sparing, TyperCommand):
    """A command that has no others below it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the command line apart."""
        return super().parse_args(ctx, list(_with_number(args)))


def _with_number(args: list[str]) -> Iterator[str]:
    """Make `--last` alone mean the last one: typer has no option whose value may be left out."""
    for arg, following in zip_longest(args, args[1:], fillvalue=""):
        yield arg
        if arg == "--last" and not following.isdecimal():
            yield "1"


class Commands(Sparing, TyperGroup):
    """Imports a command when it is called: what all of them need takes longer than most take."""

    table: Mapping[str, Command] = COMMANDS

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the command line apart; `help` and `version` are words for options too."""
        if self.table is COMMANDS:
            if args[:1] == ["help"]:
                args = [*args[1:], "--help"]
            elif args[:1] == ["version"]:
                args = ["--version"]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command. Raises `UsageError` if a person wants one that there is not."""
        if cmd_name not in self.table and ctx.resilient_parsing:
            return None  # a shell asks, which wants to hear nothing else
        if cmd_name not in self.table:
            raise UsageError(f"no command {cmd_name!r}, {nearest(cmd_name, self.table)}")
        function = _function(self.table[cmd_name].module, cmd_name)
        one = typer.Typer(add_completion=False, **OPTIONS)
        if cmd_name == "deliveries":
            one.callback(cls=OfDeliveries, invoke_without_command=True)(function)
            return typer.main.get_group(one)
        one.command(cmd_name, cls=OneCommand, context_settings=SETTINGS)(function)
        return typer.main.get_command(one)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List them for `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.table.items()])


class OfDeliveries(Commands):
    """The commands below `hfhooks deliveries`."""

    table = OF_DELIVERIES


def _function(module: str, name: str) -> Callable[..., None]:
    function = "list_deliveries" if name == "deliveries" else name.replace("-", "_")
    found: Callable[..., None] = getattr(import_module(f"hfhooks.cli.commands.{module}"), function)
    return found


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print_data(f"hfhooks {__version__}")
        raise typer.Exit


app = typer.Typer(name="hfhooks", cls=Commands, invoke_without_command=True, **OPTIONS)


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Serve Hugging Face webhook handlers from plain Python scripts."""
    if context.invoked_subcommand is None:
        print_data(context.get_help())
        raise typer.Exit(2)


def run(worker: "Spawned | None" = None) -> int:
    """Run the command line and return its exit code; `serve` takes the worker that waits for it."""
    try:
        return int(app(obj=worker, prog_name="hfhooks", standalone_mode=False) or 0)
    except typer.Abort:  # Ctrl-C at a question
        return CTRL_C
    except ReaderGone as error:
        return error.exit_code
    except (HfhooksError, OSError, typer.TyperException) as error:
        explained = _explained(error)
        print_error(explained)
        return explained.exit_code
    except Exception as error:  # noqa: BLE001 # what nobody foresaw is a fault of ours
        fault = Fault("hfhooks", error)
        print_error(fault)
        return fault.exit_code


def _explained(error: Exception) -> HfhooksError:
    if isinstance(error, HfhooksError):
        return error
    if isinstance(error, OSError):
        return MachineError.of(error)
    context = getattr(error, "ctx", None)
    message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
    return UsageError(message[:1].lower() + message[1:], _see(context))
