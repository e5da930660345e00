"""`hfhooks init`: a script to start from."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hfhooks.cli.completion import words
from hfhooks.console.output import print_note
from hfhooks.errors import UsageError
from hfhooks.model.events import nearest

TRIES = {
    "trigger-training": "repo.content:update --repo dataset:me/data",
    "discussion-bot": 'discussion.comment:create --comment "@my-bot hello"',
    "metadata-review": "repo.content:update --repo model:me/model",
    "job": "repo.content:update --repo dataset:me/data",
}
"""The templates, each with an event that it wants."""

File = Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")]
Template = Annotated[
    str,
    typer.Option(
        metavar="trigger-training|discussion-bot|metadata-review|job",
        help="What it does.",
        autocompletion=words(*TRIES),
    ),
]


def init(file: File = Path("handlers.py"), template: Template = "trigger-training") -> None:
    """Write a script to start from, which runs as it is. Nothing is overwritten.

    \b
    Examples:
      hfhooks init
      hfhooks init bot.py --template discussion-bot
    """
    if template not in TRIES:
        raise UsageError(f"no template {template!r}, {nearest(template, TRIES)}")
    if file.suffix != ".py":
        raise UsageError(f"{file}: a script's name ends with .py.")
    starter = Path(__file__).parents[1] / "starters" / f"{template.replace('-', '_')}.py"
    name = shlex.quote(str(file))
    is_plain = name.isprintable() and not set(name) & {'"', "\\"}
    text = starter.read_text(encoding="utf-8").replace("{file}", name if is_plain else "SCRIPT.py")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{file} is there already.", "Choose another name.") from error
    print_note(f"{file} is written. To serve it: hfhooks serve {name}")
    print_note(f"To send it an event, from another terminal: hfhooks trigger {TRIES[template]}")
