import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hfhooks.model.exported import Exported

HOSTILE = "'; touch here; \\'; touch here; $(touch here) `touch here` !! %s \\n \" & | < > ^ ; #"
QUERY = "a=';touch+here;&b=$(touch%20here)&c=[1-3]&d={x,y}&e=`touch`&f=\\&g=!!"
BODIES = [
    json.dumps({"text": HOSTILE, "bidi": "\u202e\u2066"}, ensure_ascii=False).encode(),
    HOSTILE.encode() + b"\x1b]0;title\x07\x1b[2J\r\n\t\x9b\x7f",
    b"@/etc/passwd",
    b"-n",
    b"--help",
    b"\x00\xff\xfe zero",
    b"\n\n line breaks \n\n",
    b"",
    bytes(range(256)),
]
SHELLS = ["sh", "bash", "zsh", "fish"]


class Heard(HTTPServer):
    """Hears what curl sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hears)
        self.requests: list[tuple[str, Any, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/webhooks/push"


class Hears(BaseHTTPRequestHandler):
    server: Heard

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.path, self.headers, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("shell", SHELLS)
def test_a_curl_command_is_the_same_in_every_shell_and_nothing_but_data(
    shell: str, heard: Heard, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    agent = f"{HOSTILE} \xe9\x9b\t."
    headers = (("content-type", "text/plain"), ("user-agent", agent), ("webhook-id", "@x"))
    for body in BODIES:
        command = Exported("push", body, headers, QUERY).as_curl(heard.url)
        assert command.isascii() and command.replace("\n", "").isprintable()
        subprocess.run([shell, "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert [body for _, _, body in heard.requests] == BODIES
    for path, fields, _ in heard.requests:
        assert path.endswith(
            "?a=%27;touch+here;&b=%24(touch%20here)&c=[1-3]&d={x,y}&e=%60touch%60&f=%5C&g=%21%21"
        )
        assert (fields["user-agent"], fields["webhook-id"]) == (agent, "@x")
    assert list(tmp_path.iterdir()) == []


def test_a_plain_delivery_can_be_read_in_its_command() -> None:
    one = Exported("push", b'{"a": "b"}', (("content-type", "application/json"),))
    assert one.as_curl("http://[::1]:7860/webhooks/push") == (
        """printf '{"a": "b"}' | curl -s --globoff 'http://[::1]:7860/webhooks/push' \\\n"""
        """  -H 'content-type: application/json' \\\n  --data-binary @-"""
    )


def test_what_is_planted_in_a_journal_is_data_too() -> None:
    headers = (("x\u202e", "a"), ("x-b", "\u202e\n"), ("content-length", "0"), ("@/etc/passwd", ""))
    command = Exported("../'$(x)", b"{}", headers, "\u202e").as_curl("http://a/'$(x)`\u202e")
    assert command.isascii() and "$(x)" not in command and "content-length" not in command


@pytest.mark.parametrize(
    "name", ['"); import os; ("', "\\", "a\nb", "\u202e", "\xb2", "'''", "{x}"]
)
def test_no_name_is_code_in_a_test(name: str) -> None:
    body = json.dumps({"text": f"{name} \ud83d", name: ['"""', "'''", "{payload}"]}).encode()
    query, headers = name, ((name, name),)
    text = Exported(name, body, headers, query).as_test(1, "app")
    assert text.isascii()
    assert shape(text) == shape(Exported("push", b"{}").as_test(1, "app"))
    loaded, delivered = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Call)]
    assert json.loads(ast.literal_eval(loaded.args[0])) == json.loads(body)
    assert ast.literal_eval(delivered.keywords[0].value) == name


def shape(text: str) -> list[type]:
    """Return what a script consists of, whatever its values are."""
    return [type(each) for each in ast.walk(ast.parse(text))]


@pytest.mark.parametrize("script", ["my-app", "class", "import", "a.b", "os; x", "", "a\n"])
def test_what_is_no_module_is_not_imported(script: str) -> None:
    with pytest.raises(ValueError, match="no name of a module"):
        Exported("push", b"{}").as_test(1, script)


def test_json_that_is_too_deep_is_no_fault_of_ours() -> None:
    deep = b"[" * 100 * sys.getrecursionlimit()
    with pytest.raises(ValueError):
        Exported("raw", deep).as_test(1, "app")
