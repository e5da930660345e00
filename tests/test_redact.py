import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.redact import ENVIRONMENT, MOST_PASSING, Redactor

SECRET = "correct-horse"
HUB_TOKEN = "hf_" + "aZ09" * 9
QUOTES: tuple[Callable[[str], str], ...] = (json.dumps, repr, lambda text: f"'{text}'")
PRINTABLE = "".join(map(chr, range(32, 127)))


@pytest.fixture
def redact() -> Redactor:
    redact = Redactor()
    redact.learn(SECRET, "battery/staple")
    return redact


def test_secrets_are_masked_in_text_and_bytes(redact: Redactor) -> None:
    assert redact(f"a {SECRET} b battery/staple") == "a *** b ***"
    assert redact(f"a {SECRET} b".encode()) == b"a *** b"


def test_all_else_stays_as_it_is(redact: Redactor) -> None:
    text = "12:00:00  ✓ 200  train  repo.content:update  dataset:me/data  12 ms  #17\n"
    assert redact(text) is text
    assert redact(b"\xff\x00 any bytes") == b"\xff\x00 any bytes"


@pytest.mark.parametrize(
    "text", [HUB_TOKEN, f"HF_TOKEN={HUB_TOKEN}", f"'{HUB_TOKEN}'", f"https://x:{HUB_TOKEN}@y"]
)
def test_what_looks_like_a_token_of_the_hub_is_masked(text: str) -> None:
    assert HUB_TOKEN not in Redactor()(text) and "***" in Redactor()(text)
    assert HUB_TOKEN.encode() not in Redactor()(text.encode())


@pytest.mark.parametrize("text", ["hf_hub_download", "hf_transfer", "hf-internal-testing/tiny"])
def test_what_only_begins_like_one_is_not(text: str) -> None:
    assert Redactor()(text) == text


@given(st.text(PRINTABLE, min_size=8).filter(lambda text: len(text.strip()) >= 8))
def test_a_secret_is_masked_however_it_is_written(secret: str) -> None:
    secret = secret.strip()
    redact = Redactor()
    redact.learn(f"{secret}\n")
    encoded = [encode(secret, safe) for encode in (quote, quote_plus) for safe in ("", "/")]
    quoted = [second(first(secret)[1:-1])[1:-1] for first in QUOTES for second in QUOTES]
    for form in (secret, *encoded, *quoted):
        assert redact(form) == "***"
        assert redact(form.encode()) == b"***"


def test_a_short_secret_may_stand_in_any_text() -> None:
    redact = Redactor()
    redact.learn("", "updated", "        ")
    assert redact("updated        ") == "updated        "


def test_a_secret_that_begins_with_another_is_masked_whole(redact: Redactor) -> None:
    redact.learn(f"{SECRET}-battery")
    assert redact(f"{SECRET}-battery {SECRET}") == "*** ***"


def test_a_secret_of_any_bytes_is_masked() -> None:
    redact = Redactor()
    redact.learn("sécret\udcff-secret")
    assert redact("sécret\udcff-secret") == "***"
    assert redact("sécret".encode() + b"\xff-secret") == b"***"


def test_the_environment_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, f"the value of {name}")
    redact = Redactor()
    redact.learn_environment()
    assert redact(", ".join(f"the value of {name}" for name in ENVIRONMENT)) == ", ".join(
        ["***"] * len(ENVIRONMENT)
    )


def test_the_environment_is_followed() -> None:
    code = """if True:
    import os
    from hfhooks.redact import ENVIRONMENT, Redactor
    os.environ["NGROK_API_KEY"] = "the value before"
    redact, heard = Redactor(), []
    redact.follow_environment(heard.append)
    redact.follow_environment(heard.append)
    os.environ["ANOTHER"] = "of no interest"
    for name in ENVIRONMENT:
        os.environ[name] = f"the value of {name}"
    os.environ.update(HF_TOKEN="of a second user", NGROK_API_KEY="short")
    del os.environ["HF_TOKEN"]
    values = [f"the value of {name}" for name in ENVIRONMENT]
    assert heard == [*values, "of a second user", "short"], heard
    told = " ".join(["the value before", *heard, "of no interest"])
    assert redact(told) == "*** " * 8 + "short of no interest", redact(told)
    """
    subprocess.run([sys.executable, "-c", code], check=True)  # what follows is never undone


def test_however_many_pass_the_lasting_ones_are_masked(redact: Redactor) -> None:
    for number in range(MOST_PASSING + 1):
        redact.learn_passing(f"the token {number}.")
    assert redact(f"{SECRET}, the token {MOST_PASSING}.") == "***, ***"
    assert redact("the token 0.") == "the token 0."


def test_what_threads_learn_side_by_side_is_masked(redact: Redactor) -> None:
    def learn(name: str) -> None:
        for number in range(30):
            redact.learn(f"{name} has {number}.")

    threads = [threading.Thread(target=learn, args=[name]) for name in ("Ada's", "Bob's")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redact("Ada's has 29. Bob's has 29.") == "*** ***"


@pytest.mark.parametrize(
    ("query", "masked"),
    [
        ("", ""),
        ("a=1&b=%20&c=x+y", "a=1&b=%20&c=x+y"),
        (f"a=1&token={SECRET}", "a=1&token=***"),
        ("a=1&token=%63orrect-h%6frse&b=2", "a=1&***&b=2"),
        ("key=battery%2Fstaple", "key=***"),
        ("correct%2Dhorse", "***"),
    ],
)
def test_a_query_has_no_secrets_however_they_are_encoded(
    redact: Redactor, query: str, masked: str
) -> None:
    assert redact.query(query) == masked


def test_a_header_that_was_let_through_is_masked_when_its_secret_is_known() -> None:
    redact = Redactor()
    assert redact.header("a-secret-to-be") == "a-secret-to-be"
    redact.learn("a-secret-to-be")
    assert redact.header("a-secret-to-be") == "***"


def test_huge_texts_take_no_time_to_speak_of(redact: Redactor) -> None:
    started = time.perf_counter()
    for text in ("c" * 4_000_000, "correct-hors " * 300_000, "%5c\\" * 1_000_000, "hf_" * 10**6):
        assert redact(text) == text
    assert time.perf_counter() - started < 10


class Guarded(io.TextIOWrapper):
    @property
    def written(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@pytest.fixture
def stream(redact: Redactor) -> Iterator[Guarded]:
    stream = Guarded(io.BytesIO(), encoding="utf-8")
    redact.guard(stream)
    yield stream
    with suppress(ValueError):
        stream.close()


def test_a_guarded_stream_masks_what_is_written(stream: Guarded) -> None:
    print("a", SECRET, "b", file=stream)
    stream.writelines([f"{SECRET}\n", "c\n"])
    assert stream.write(SECRET) == len(SECRET)
    assert stream.written == "a *** b\n***\nc\n***"


def test_lines_of_several_threads_stay_whole(stream: Guarded) -> None:
    first_half, other_line = threading.Event(), threading.Event()

    def one() -> None:
        print("first", end=" ", file=stream)
        first_half.set()
        other_line.wait(10)
        print("second", file=stream)

    thread = threading.Thread(target=one)
    thread.start()
    first_half.wait(10)
    print("other", file=stream)
    other_line.set()
    thread.join()
    assert stream.written == "other\nfirst second\n"


def test_half_a_line_is_written_when_it_is_flushed_or_long(stream: Guarded) -> None:
    print("50 %", end="", flush=True, file=stream)
    assert stream.written == "50 %"
    stream.write("x" * 100_000)
    assert len(stream.written) > 100_000


def test_a_secret_in_parts_is_masked(stream: Guarded) -> None:
    print(SECRET[:5], SECRET[5:], sep="", file=stream)
    assert stream.written == "***\n"


def test_it_is_the_stream_that_it_was(stream: Guarded) -> None:
    stream.reconfigure(line_buffering=True)
    assert stream.line_buffering and stream.encoding == "utf-8" and not stream.isatty()
    assert isinstance(stream.buffer, io.BytesIO)
    with pytest.raises(TypeError):
        stream.write(b"bytes")  # type: ignore[arg-type] # wrong on purpose


def test_logs_and_tracebacks_pass_it(stream: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    handler = logging.StreamHandler(stream)
    handler.handle(logging.makeLogRecord({"msg": "to %s", "args": (SECRET,)}))

    def fail() -> None:
        raise ExceptionGroup(SECRET, [ValueError(SECRET)])

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert stream.written.startswith("to ***\n")
    assert "ValueError: ***" in stream.written and SECRET not in stream.written
