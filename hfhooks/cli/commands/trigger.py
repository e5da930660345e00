"""`hfhooks trigger`: send a realistic event, without a push to a repository."""

import json
import shlex
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hfhooks.cli.completion import event_names
from hfhooks.cli.options import AsJson, Port, Set, To
from hfhooks.console.output import print_data, print_note, print_sent, progress
from hfhooks.errors import UsageError
from hfhooks.model import views
from hfhooks.model.exported import encoded
from hfhooks.model.headers import ORIGIN_HEADER
from hfhooks.model.running_server import RunningServer
from hfhooks.model.samples import SAMPLES, changes_of, samples
from hfhooks.model.sending import JSON, Request, Sent, choose
from hfhooks.model.sending import named as endpoint_named
from hfhooks.serving.owner import find_server, send

EventName = Annotated[
    str | None,
    typer.Argument(
        metavar="EVENT",
        help="What happens; --list names all, with what they mean.",
        autocompletion=event_names,
    ),
]
Repo = Annotated[str, typer.Option(metavar="TYPE:OWNER/NAME", help="Where it happens.")]
Ref = Annotated[
    list[str] | None,
    typer.Option(metavar="REF", help="What a push updates. [default: refs/heads/main]"),
]
Pr = Annotated[
    bool, typer.Option("--pr", help="A pull request; when one is opened its ref is updated too.")
]
Comment = Annotated[str | None, typer.Option(metavar="TEXT", help="What a comment says.")]
Private = Annotated[bool, typer.Option("--private", help="The repository is private.")]
Save = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write the payload there, - for stdout, and send nothing."),
]
Count = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many times.")]
Every = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, max=86_400, help="The pause between two.")
]
List = Annotated[bool, typer.Option("--list", help="Name the events, and send nothing.")]


def trigger(
    event: EventName = None,
    repo: Repo = "model:some-user/some-repo",
    ref: Ref = None,
    pr: Pr = False,
    comment: Comment = None,
    private: Private = False,
    changes: Set = None,
    save: Save = None,
    to: To = None,
    count: Count = 1,
    every: Every = 0,
    port: Port = None,
    names_events: List = False,
    as_json: AsJson = False,
) -> None:
    """Send a realistic event to the running server, and show the handler's answer.

    It is a delivery like the Hub's: recorded, filtered, tried again if the handler raises. The
    secret is not needed. Exits with 1 if a handler failed.

    \b
    Examples:
      hfhooks trigger --list
      hfhooks trigger repo.content:update --repo dataset:me/data
      hfhooks trigger repo.content:update --repo me/model --ref refs/tags/v1 --set repo.private=true
      hfhooks trigger discussion:create --pr
      hfhooks trigger discussion.comment:create --comment "@bot hello"
      hfhooks trigger repo:move --save payload.json
      hfhooks trigger repo.content:update --count 10 --every 0.5
    """
    if names_events:
        for name, meaning in SAMPLES.items():
            row = json.dumps({"event": name, "about": meaning})
            print_data(row if as_json else f"{name:<27}{meaning}")
        return
    if event is None:
        raise UsageError("no event given.", help="To see them all: hfhooks trigger --list")
    payloads = _payloads(
        event, repo, pr=pr, ref=ref or (), comment=comment, private=private, changes=changes or ()
    )
    if save:
        _save(payloads, save)
        return
    server = find_server(port)
    requests = list(_requests(server, payloads, to))
    has_failed = False
    for number in range(count):
        if number:
            time.sleep(every)
        for request in requests:
            has_failed |= _send(server, request, as_json).has_failed
    raise typer.Exit(1 if has_failed else 0)


def _payloads(
    event: str, repo: str, *, changes: Iterable[str], **options: Any
) -> list[dict[str, Any]]:
    try:
        return samples(event, repo, changes=changes_of(changes), **options)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _save(payloads: list[dict[str, Any]], name: str) -> None:
    content: Any = payloads[0] if len(payloads) == 1 else payloads
    text = json.dumps(content, indent=2)
    if name == "-":
        print_data(text)
        return
    try:
        with Path(name).open("x", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError as error:
        raise UsageError(f"{name} is there already.", help="Choose another name.") from error
    print_note(f"saved. To send it: hfhooks replay {shlex.quote(name)}")


def _requests(
    server: RunningServer, payloads: list[Mapping[str, Any]] | list[dict[str, Any]], to: str | None
) -> Iterable[Request]:
    """Yield what is sent: what goes with the first payload only where an endpoint wants it."""
    endpoints = [each.endpoint for each in server.endpoints]
    for number, payload in enumerate(payloads):
        is_wanted = any(each.filter.mismatch(payload) is None for each in endpoints)
        if number and not is_wanted:
            continue
        endpoint = endpoint_named(endpoints, to) if to else choose(endpoints, payload)
        yield Request(endpoint.path, encoded(payload), JSON)


def _send(server: RunningServer, request: Request, as_json: bool) -> Sent:
    headers = {**request.headers, "webhook-id": str(uuid.uuid4()), ORIGIN_HEADER: "trigger"}
    with progress("waiting for the handler …"):
        sent = send(server, Request(request.path, request.body, headers))
    if as_json:
        print_data(json.dumps(views.sent(sent)))
    else:
        print_sent(sent)
    return sent
