import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import pytest

from hfhooks.console.json_lines import JsonLines
from hfhooks.console.output import print_sent
from hfhooks.console.text import Notes, Text
from hfhooks.errors import Fault, HfhooksError, LoadError
from hfhooks.model.delivery import Attempt
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.happenings import (
    Broken,
    Duplicate,
    Failed,
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
from hfhooks.model.sending import Sent
from hfhooks.redact import redact
from tests.console.examples import (
    ATTEMPT,
    CLOSED,
    DELIVERY,
    ESCAPES,
    FAILED,
    OPEN,
    SERVER,
    finished,
)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what returns what is said of happenings, all of it on stderr."""

    def said(*happenings: Happening, notes: bool = False, **options: Any) -> str:
        subscriber = (Notes if notes else Text)(**options)
        for happening in happenings:
            subscriber(happening)
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return said


@pytest.mark.parametrize("notes", [False, True], ids=["text", "notes"])
def test_what_a_refusal_may_mean_is_a_note_for_programs_too(said: Any, notes: bool) -> None:
    refused = Refused("/webhooks/train", 401, "unauthorized", "it signs")
    assert said(refused, notes=notes).endswith("note: it signs\n")


@pytest.mark.parametrize(
    "happening",
    [finished(), Ignored(17, DELIVERY, "why"), Ready(SERVER), Reloaded(1.0, SERVER), Stopped()],
)
def test_where_lines_are_json_only_notes_are_text(said: Any, happening: Happening) -> None:
    assert said(happening, notes=True) == ""
    assert said(happening)


def test_start_up_without_a_secret_says_how_to_set_one(said: Any) -> None:
    shown = said(Ready(SERVER))
    for words in (
        "Webhook secret is not set: anyone who knows a URL can call it.",
        "WEBHOOK_SECRET in the environment, or WebhooksServer(webhook_secret=…)",
        "https://huggingface.co/docs/hub/webhooks#webhook-secret",
        "Running on local URL:  http://127.0.0.1:7860",
        "Only this machine can reach it.",
        "  POST http://127.0.0.1:7860/webhooks/train   repo.content · dataset:me/*",
        "https://huggingface.co/settings/webhooks",
    ):
        assert words in shown


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "127.1"])
def test_start_up_says_where_other_machines_can_reach_it(said: Any, host: str) -> None:
    shown = said(Ready(replace(SERVER, host=host)))
    assert "Other machines in its network can reach it." in shown
    assert "Only this machine" not in shown


def test_start_up_with_a_secret_does_not_nag(said: Any) -> None:
    shown = said(Ready(CLOSED))
    assert "Webhook secret is set." in shown and "WEBHOOK_SECRET" not in shown


def test_start_up_names_the_endpoints_that_are_open(said: Any) -> None:
    server = replace(SERVER, endpoints=[OPEN, *CLOSED.endpoints])
    assert "Webhook secret is not set for train:" in said(Ready(server))


def test_one_delivery_is_one_line(said: Any) -> None:
    ignored = Ignored(17, DELIVERY, "event x is not y")
    shown = said(finished(), ignored, Refused("/webhooks/train", 401, "unauthorized"))
    one, two, three = (line.split("  ") for line in shown.splitlines())
    assert one[1:] == [
        "✓ 200", "train", "repo.content:update", "dataset:me/data", "12 ms", "#17",
    ]  # fmt: skip
    assert two[-2:] == ["ignored: event x is not y", "#17"]
    assert three[1:] == ["✗ 401", "/webhooks/train", "unauthorized"]


def test_what_will_be_tried_again_says_when(said: Any) -> None:
    happenings = [finished(FAILED, status="retrying", retry_after=after) for after in (5.4, 130.0)]
    first, _, second, _ = said(*happenings).splitlines()
    assert first.split("  ")[1] == "↻ 500" and "  again in 5 s  " in first
    assert "  again in 2 min  " in second


def test_a_later_attempt_and_one_of_the_last_run_are_told_apart(said: Any) -> None:
    later, recovered, amended = said(
        finished(replace(ATTEMPT, number=3)),
        finished(is_recovered=True),
        finished(status="failed", is_amended=True),
    ).splitlines()
    assert later.endswith("  12 ms  attempt 3  #17")
    assert recovered.endswith("  12 ms  recovered  #17")
    assert amended.endswith("  in the background, after the answer  #17")


TRACE = """\
Traceback (most recent call last):
  File "/home/ada/app.py", line 3, in train
    json.loads("{")
  File "{LIBRARY}", line 346, in loads
    return _default_decoder.decode(s)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
json.decoder.JSONDecodeError: Expecting property name
""".replace("{LIBRARY}", json.__file__)


def test_a_traceback_has_the_users_frames_unless_all_are_wanted(said: Any) -> None:
    failed = finished(replace(FAILED, error=TRACE))
    shown = said(failed)
    assert "app.py" in shown and 'json.loads("{")' in shown and "JSONDecodeError" in shown
    assert json.__file__ not in shown and "_default_decoder" not in shown and "^^^" not in shown
    assert json.__file__ in said(failed, verbose=True)


def test_a_fault_of_ours_is_shown_whole(said: Any) -> None:
    try:
        raise KeyError("a row")
    except KeyError as error:
        shown = said(Failed(Fault("dispatching", error)))
    assert "Traceback" in shown and __file__ in shown
    assert "error: a fault in dispatching: KeyError: 'a row'." in shown


def test_a_duplicate_says_how_to_run_it_anyway(said: Any) -> None:
    [line] = said(Duplicate(17, DELIVERY)).splitlines()
    assert "a duplicate; to run it again: hfhooks replay 17" in line


def test_turning_senders_away_is_said_and_its_end_too(said: Any) -> None:
    assert said(Full("the disk is full."), Full(None)).splitlines() == [
        "note: the disk is full. Until that changes deliveries are refused, which the Hub counts.",
        "note: deliveries are accepted again.",
    ]


def test_an_endpoint_whose_senders_are_turned_away_is_named(said: Any) -> None:
    assert said(Full("many.", "train"), Full(None, "train")).splitlines() == [
        "note: many. Until that changes deliveries to train are refused, which the Hub counts.",
        "note: deliveries to train are accepted again.",
    ]


def test_a_reload_shows_what_has_come_and_gone(said: Any) -> None:
    shown = said(Reloaded(0.048, SERVER, ["/webhooks/new"], ["/webhooks/old"])).splitlines()
    assert shown[0].endswith("⟳  reloaded in 48 ms")
    assert shown[1:] == ["  + /webhooks/new", "  - /webhooks/old"]


def test_an_open_endpoint_that_appears_at_a_public_url_is_warned_of(said: Any) -> None:
    here = replace(SERVER, endpoints=[OPEN, Published(Endpoint("closed"), "script")])
    public = replace(here, url="https://me.example", tunnel="ngrok")
    assert "WARNING" not in said(Reloaded(1.0, here, [OPEN.endpoint.path]))
    assert "WARNING" not in said(Reloaded(1.0, public, ["/webhooks/closed"]))
    assert "WARNING" not in said(Reloaded(1.0, public))
    shown = said(Reloaded(1.0, public, [OPEN.endpoint.path]))
    warning = "WARNING: Webhook secret is not set for train, and the URL is public: anyone may call"
    assert warning in shown
    assert warning in said(TunnelUp(public, None))
    assert "WARNING" not in said(TunnelUp(public, public.url))


@pytest.mark.parametrize("has_worker", [True, False])
def test_a_broken_version_is_an_error_and_what_that_means_a_note(
    said: Any, has_worker: bool
) -> None:
    error, note = said(Broken(LoadError("app.py:1: no"), has_worker)).splitlines()
    assert error == "error: app.py:1: no"
    goes_on = "the version before goes on" if has_worker else "deliveries are kept"
    assert note == f"note: {goes_on} until a better one is saved."


def test_a_tunnel_says_its_url_where_that_is_another_one(said: Any) -> None:
    up = replace(SERVER, url="http://me.example", tunnel="ssh")
    first = said(TunnelUp(up, None))
    assert "the public URL is http://me.example now" in first
    assert "  POST http://me.example/webhooks/train" in first and "not encrypted" in first
    assert said(TunnelUp(up, "http://me.example")).endswith("http://me.example is up again\n")
    down = said(TunnelDown("http://me.example", "it broke."))
    assert down == "note: no public URL for now: it broke. Trying again.\n"


def test_progress_is_a_note_where_it_is_no_percentage(said: Any) -> None:
    assert said(Progress("fetching it"), Progress("fetching: 3%")) == "note: fetching it\n"


def test_an_exception_is_shown_below_its_delivery(said: Any) -> None:
    failed = finished(replace(FAILED, error=f"Traceback:\n  {ESCAPES}\n"))
    assert said(failed).splitlines()[1:] == [
        "    Traceback:",
        "      \\x1b]0;x\\x07 \\x9b31m \\u202e ",
        "     \\ud800 [/red]",
    ]


@pytest.mark.parametrize("notes", [True, False])
def test_an_answer_that_cannot_be_sent_is_a_note_that_names_the_value(
    said: Any, notes: bool
) -> None:
    done = finished(replace(ATTEMPT, error="loss.eval is nan"))
    note = said(done, notes=notes).splitlines()[-1]
    assert note == "note: train #17 ended well, and its answer cannot be sent: loss.eval is nan."


@pytest.mark.parametrize("notes", [True, False])
def test_an_answer_that_the_hub_counts_as_failed_is_said_to_be_one_once(
    said: Any, notes: bool
) -> None:
    moved = finished(replace(ATTEMPT, http_status=307), sent_status=307)
    wrong = finished(replace(ATTEMPT, status="refused"), status="failed", sent_status=404)
    late = finished(replace(ATTEMPT, http_status=307), sent_status=202)
    shown = [line for line in said(late, moved, wrong, notes=notes).splitlines() if "Hub" in line]
    assert len(shown) == 1
    assert shown[0].startswith("note: train answered 307, which the Hub counts as failed.")


def test_text_from_outside_is_inert_wherever_it_is_shown(said: Any) -> None:
    odd = replace(DELIVERY, event=ESCAPES, repo=ESCAPES)
    failed = Failed(HfhooksError(ESCAPES, ESCAPES))
    shown = said(finished(delivery=odd), Ignored(1, odd, ESCAPES), Note(ESCAPES), failed)
    shown = shown.replace("\n", "")
    assert not [character for character in shown if not character.isprintable()]
    assert "[/red]" in shown


def test_plain_marks_where_the_terminal_has_no_others() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    Text(stream)(finished())
    stream.flush()
    assert b"+ 200  train" in stream.buffer.getvalue()


@pytest.fixture
def pipe_without_reader() -> Iterator[TextIO]:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_a_reader_that_left_stops_nothing(pipe_without_reader: TextIO) -> None:
    text = Text(pipe_without_reader)
    for _ in range(2):
        text(Note("x" * 100_000))
        text(finished())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        text = Text(full)
        text(finished())
        text(Stopped())


CANARY = 'canary/"in the mine"'


def test_a_secret_is_masked_in_whatever_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    redact.learn(CANARY)
    failed = Attempt(1, 0, 0.1, "raised", 500, error=f"Traceback:\nError: {CANARY}\n")
    error = LoadError(f"app.py:1: {CANARY}", CANARY, "app.py", 1)
    error.traceback = [CANARY]
    told = replace(DELIVERY, repo=CANARY)
    for subscribers in ([Text()], [JsonLines(), Notes()]):
        for happening in (
            Note(CANARY),
            finished(failed, told),
            Ignored(1, DELIVERY, CANARY),
            Refused("/webhooks/train", 401, "unauthorized", CANARY),
            Broken(error, has_worker=True),
        ):
            for subscriber in subscribers:
                subscriber(happening)  # type: ignore[operator] # one of two kinds
    print_sent(Sent(200, "succeeded", "train", 17, 0.05, json.dumps({"a": CANARY}).encode()))
    out, err = capsys.readouterr()
    assert "canary" not in out + err and "mine" not in out + err
    assert (out.count("***"), err.count("***")) == (3, 14)
