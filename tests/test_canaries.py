"""Secrets that sing when they leave: everything is done with them, then every byte is searched."""

import json
import re
import sqlite3
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from hfhooks.private import state_folder
from tests.harness import JSON, Answer, Server, request, run_command, wait_until

CURRENT = 'nightingale/+"of the \\hub"'
PREVIOUS = "nightingale-of-last-year"
OWN = "nightingale-of-a-script"
ENVIRONMENT = {
    "WEBHOOK_SECRET": CURRENT,
    "WEBHOOK_SECRET_PREVIOUS": PREVIOUS,
    "HF_TOKEN": "hf_" + "Nightingale1" * 3,
    "HUGGING_FACE_HUB_TOKEN": "nightingale-of-long-ago",
    "NGROK_AUTHTOKEN": "nightingale_of_the_tunnel",
    "NGROK_API_KEY": "nightingale_of_an_interface",
}
LITERAL = "hf_" + "Nightingale2" * 3
"""A token that no variable holds."""
CANARIES = (*ENVIRONMENT.values(), OWN, LITERAL)
REPO = "me/private-nightjar"
"""In payloads and delivery lines: the user's own. Strangers must not hear of it."""
LOUD = {
    "COVERAGE_PROCESS_CONFIG": "",  # others are measured: these take long enough
    "HF_DEBUG": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONWARNINGS": "always",
    "UVICORN_LOG_LEVEL": "trace",
}
PAYLOAD = json.dumps(
    {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "dataset", "name": REPO, "id": "1", "private": True},
    }
).encode()

SCRIPT = f"""
import json, logging, os, pathlib, signal, sys, threading, warnings
own = pathlib.Path(__file__).with_name("environment.json")
os.environ.update(json.loads(own.read_text()) if own.exists() else {{}})
from fastapi import BackgroundTasks, HTTPException, Request
from hfhooks import Delivery, Discard, Retry, WebhookPayload, WebhooksServer, webhook_endpoint

logging.basicConfig(level=1)
ENVIRON = {{name: os.environ[name] for name in {[*ENVIRONMENT]}}}
ALL = " ".join([{OWN!r}, {LITERAL!r}, *(os.environ[name] for name in {[*ENVIRONMENT]}), "."])
server = WebhooksServer(webhook_secret={OWN!r})
print("while it loads", ALL)


@webhook_endpoint(retries=0)
def chains():
    error = ValueError("chained", ALL)
    error.add_note("noted " + ALL)
    try:
        raise error
    except ValueError as cause:
        raise KeyError("raised " + ALL) from cause


@webhook_endpoint(retries=0)
async def groups():
    raise ExceptionGroup("grouped " + ALL, [ValueError("inner " + ALL), OSError(2, ALL, ALL)])


@webhook_endpoint(retries=0)
def environ():
    raise RuntimeError(f"environ {{os.environ}} {{dict(os.environ)}} {{vars(server)}} {{server}}")


@webhook_endpoint(retries=1)
def asks():
    raise Retry("asked " + ALL, after=0)


@webhook_endpoint
def discards():
    raise Discard("discarded " + ALL)


@webhook_endpoint
def answers():
    raise HTTPException(418, "answered " + ALL)


@server.add_webhook
def tells(request: Request):
    return {{"told": ALL, "environ": ENVIRON, "headers": dict(request.headers)}}


@webhook_endpoint(retries=0)
def checks(payload: WebhookPayload, other: int):
    pass


@webhook_endpoint(on="discussion")
def filters():
    pass


@webhook_endpoint
def prints(later: BackgroundTasks):
    print("printed", ALL)
    sys.stdout.write("written " + ALL + "\\n")
    print(repr(os.environ), ascii(ALL), file=sys.stderr)
    logging.getLogger("app").error("logged %s %r", ALL, ALL)
    warnings.warn("warned " + ALL)
    threading.Thread(target=int, args=["threaded " + ALL]).start()
    try:
        raise ValueError(ALL)
    except ValueError:
        logging.exception("traced")
    later.add_task(int, "after the answer " + ALL)


@webhook_endpoint
def exits(delivery: Delivery):
    print("exiting", ALL)
    if delivery.attempt == 1:
        os._exit(3)


@webhook_endpoint
async def dies(delivery: Delivery):
    print("dying", ALL)
    if delivery.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""
FAILING = {
    "raises": (SCRIPT + "raise RuntimeError('failed ' + ALL)\n", "RuntimeError: failed ***"),
    "is no Python": (f"login(token={LITERAL!r}\n", "login(token='***'"),
    "exits": (SCRIPT + "sys.exit('left ' + ALL)\n", "sys.exit('left ***"),
    "dies": (SCRIPT + "os._exit(4)\n", "exited with code 4"),
}
AUTHORS_OWN = ("tells", "answers")
"""Whose answers reach the sender as they were written."""


def spellings(secret: str) -> Iterator[str]:
    yield from (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret))
    for encode in (b64encode, urlsafe_b64encode):
        for shift in range(3):  # of what comes after others only the middle is always the same
            yield encode(b"x" * shift + secret.encode()).decode()[4:-4]


FORBIDDEN = {form.encode() for canary in CANARIES for form in spellings(canary)}
SONG = re.compile(rb"nightingale", re.IGNORECASE)
"""Part of all of them: not even half of one may leave."""


def hits(evidence: bytes) -> list[bytes]:
    found = [evidence[max(0, m.start() - 60) : m.end() + 30] for m in SONG.finditer(evidence)]
    return found + [form for form in FORBIDDEN if form in evidence]


@pytest.mark.parametrize("canary", CANARIES)
def test_every_canary_is_heard(canary: str) -> None:
    for form in spellings(canary):
        assert hits(b"before " + form.encode() + b" after")


def send(url: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", url, PAYLOAD, JSON | named)


def local_url(server: Server) -> str:
    wait_until(lambda: server.lines or "Press Ctrl-C" in server.stderr, timeout=60)
    found = re.search(r"http://127\.0\.0\.1:\d+", "".join(server.lines) or server.stderr)
    assert found
    return found[0]


def journal() -> Path:
    return next(state_folder().rglob("journal.db"))


def rows(query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{journal()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def all_end() -> bool:
    [[unfinished]] = rows(
        "SELECT count(*) FROM deliveries WHERE status IN ('queued', 'running', 'retrying')"
    )
    return not unfinished


def call_every_handler(url: str) -> Iterator[tuple[str, Answer]]:
    """Yield the answers of all endpoints to senders with a right secret."""
    names = re.findall(r"^(?:async )?def (\w+)", SCRIPT, re.MULTILINE)
    for name in names:
        secret = OWN if name == "tells" else CURRENT
        yield name, send(f"{url}/webhooks/{name}", x_webhook_secret=secret, webhook_id=name)
    for secret in (CURRENT, PREVIOUS):
        yield "prints", send(f"{url}/webhooks/prints?a=1&secret={quote(secret, safe='')}&b=2")
        yield "prints", send(f"{url}/webhooks/prints?s%65cret={quote_plus(secret)}&Secret={OWN}")
    yield "chains", send(f"{url}/webhooks/chains", x_webhook_secret=PREVIOUS)


def come_as_a_stranger(url: str) -> Iterator[Answer]:
    """Yield the answers to those who do not know a secret, or send it where it is of no use."""
    for wrong in ("", "x", CURRENT[:-1], f"{CURRENT} {CURRENT}", LITERAL, "sha256=0f", "0f" * 32):
        yield send(f"{url}/webhooks/chains", x_webhook_secret=wrong, authorization=f"Bearer {OWN}")
        yield send(f"{url}/webhooks/tells?secret={quote(wrong)}&token={LITERAL}", cookie=CURRENT)
    yield send(f"{url}/webhooks/chains?secret={OWN}&secret={OWN}")
    yield send(f"{url}/webhooks/chains")
    yield send(f"{url}/webhooks/{OWN}", x_webhook_secret=CURRENT)
    yield request("POST", f"{url}/webhooks/chains", b"[]", JSON | {"x-webhook-secret": CURRENT})
    for path in ("/", "/healthz", "/metrics", "/docs", "/webhooks/chains", f"/{OWN}"):
        yield request("GET", f"{url}{path}?secret={OWN}", headers={"x-webhook-secret": CURRENT})


def replay_all(env: dict[str, str]) -> Iterator[str]:
    """Yield what commands show that ask the server, with or without its environment."""
    ids = rows("SELECT id FROM deliveries WHERE endpoint NOT IN ('dies', 'exits') ORDER BY id")
    result = run_command("replay", *(str(id) for [id] in ids[:12]), env=env)
    assert result.returncode == 1
    yield result.stdout + result.stderr
    for command in (["print-urls", "--json"], ["replay", "nightjar"], ["replay", LITERAL]):
        result = run_command(*command, env=env)
        yield result.stdout + result.stderr


def save_what_fails(server: Server, script: Path) -> None:
    """Save scripts that cannot be loaded, and then one that can."""
    for text, words in FAILING.values():
        script.write_text(text)
        wait_until(lambda: words in server.stderr, timeout=60)  # noqa: B023 # it is awaited here
    said = len(server.errors)
    script.write_text(SCRIPT + "# mended\n")
    wait_until(lambda: any("while it loads" in line for line in server.errors[said:]), timeout=60)


def encoded(texts: Iterable[str]) -> bytes:
    return "\n".join(texts).encode(errors="backslashreplace")


@pytest.mark.parametrize(
    ("as_json", "env"),
    [(True, ENVIRONMENT), (False, ENVIRONMENT), (False, {})],
    ids=["json", "text", "set by the script"],
)
def test_nothing_secret_leaves(
    start: Callable[..., Server], script: Callable[..., Path], as_json: bool, env: dict[str, str]
) -> None:
    path = script(SCRIPT)
    if not env:
        script(json.dumps(ENVIRONMENT), "environment.json")
    server = start(path, "--reload", as_json=as_json, env=env | LOUD)
    url = local_url(server)
    own = list(call_every_handler(url))
    strangers = list(come_as_a_stranger(url))
    wait_until(all_end, timeout=60)
    shown = [*replay_all({}), *replay_all(ENVIRONMENT | LOUD)]
    save_what_fails(server, path)
    wait_until(all_end, timeout=60)
    running = {file: file.read_bytes() for file in (state_folder() / "servers").iterdir()}
    server.stop()

    errors, lines = encoded(server.errors), encoded(server.lines)
    by_us = encoded(
        f"{answer.headers}{answer.body!r}"
        for answer in [*strangers, *(answer for name, answer in own if name not in AUTHORS_OWN)]
    )
    files = {file: file.read_bytes() for file in state_folder().rglob("*") if file.is_file()}
    for evidence in (errors, lines, by_us, encoded(shown), *running.values(), *files.values()):
        assert hits(evidence) == []
    assert b"nightjar" not in by_us and b"a=1" not in errors
    see_the_masks(errors.decode(), "\n".join(shown), [line for line in server.lines if as_json])
    assert all(OWN in answer.body.decode() for name, answer in own if name in AUTHORS_OWN)


def see_the_masks(errors: str, replayed: str, json_lines: list[str]) -> None:
    """Prove that there was something to hide, wherever it was hidden."""
    for words in (
        *("while it loads", "printed", "written", "logged", "warned", "exiting", "dying"),
        *("'threaded", "'after the answer", "ValueError:"),
    ):
        assert f"{words} ***" in errors, words
    for words in ("raised", "noted", "grouped", "inner", "asked", "discarded"):
        assert f"{words} ***" in errors, words
        assert rows(f"SELECT 1 FROM attempts WHERE error LIKE '%{words} ***%'"), words
    for words in ('"told":"***', '"answered ***', '"WEBHOOK_SECRET":"***"', '"HF_TOKEN":"***"'):
        assert words in replayed, words
        assert rows(f"SELECT 1 FROM attempts WHERE CAST(answer AS TEXT) LIKE '%{words}%'"), words
    assert rows("SELECT 1 FROM attempts WHERE error LIKE '%''WEBHOOK_SECRET'': ''***''%'")
    assert ("a=1&b=2",) in rows("SELECT query FROM deliveries")
    broken = [line for line in json_lines if '"ok": false' in line]
    assert [("***" in line) for line in broken] == [True, True, True, False][: len(broken)]


@pytest.mark.parametrize("words", FAILING)
@pytest.mark.parametrize("as_json", [["--json"], []], ids=["json", "text"])
def test_a_server_that_cannot_start_says_nothing_secret(
    script: Callable[..., Path], words: str, as_json: list[str]
) -> None:
    text, said = FAILING[words]
    path = script(text)
    result = run_command("serve", str(path), "--port", "0", *as_json, env=ENVIRONMENT | LOUD)
    assert result.returncode == 3
    assert said in result.stderr
    assert hits(encoded([result.stdout, result.stderr])) == []


@pytest.mark.parametrize("arguments", [[f"--{LITERAL}"], [f"{LITERAL}.py"], [CURRENT]])
def test_what_was_typed_in_the_wrong_place_is_not_repeated(arguments: list[str]) -> None:
    result = run_command("serve", *arguments, env=ENVIRONMENT)
    assert result.returncode == 2 and "***" in result.stderr
    assert hits(encoded([result.stdout, result.stderr])) == []
