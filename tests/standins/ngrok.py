#!/usr/bin/env python3
"""A stand-in for ngrok's v3 agent: its command line, log lines, local API and edges that forward.

Written from ngrok's public documentation and from what pyngrok expects. Tests choose by environment
variables: FAKE_NGROK_SCENARIO is `ok`, `silent`, `slow` (or `slow:0.5` for other seconds than 3),
`no_network`, `old_api`, `endpoint_online` or a name in REFUSALS; FAKE_NGROK_STATE names a JSON file
that tells what the agent has and does. A running agent obeys POSTs to its API: `/stand-in/drop`,
`/stand-in/restore`, `/stand-in/move` and `/stand-in/die`.
"""

import argparse
import json
import os
import re
import sys
import threading
import time
from base64 import b64encode
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from tests.standins.edge import HOST, Edge, Handler, LoopbackServer, Page, Passed
    from tests.standins.logfmt import Log
    from tests.standins.program import end_on_signals, write_state
else:  # run as a program, from its own folder
    from edge import HOST, Edge, Handler, LoopbackServer, Page, Passed
    from logfmt import Log
    from program import end_on_signals, write_state

VERSION = "3.30.0"
NO_HOST = "dial tcp: lookup connect.ngrok-agent.com: no such host"
REFUSALS = {
    "no_authtoken": "Usage of ngrok requires a verified account and authtoken.\n\n"
    "Sign up for an account: https://dashboard.ngrok.com/signup\r\n\r\nERR_NGROK_4018",
    "bad_authtoken": "The authtoken you specified does not look like a proper ngrok authtoken.\n"
    "Your authtoken: {token}\r\n\r\nERR_NGROK_105",
    "revoked": "The authtoken you specified is properly formed, but it is invalid.\n"
    "Your authtoken: {token}\r\n\r\nERR_NGROK_107",
    "session_limit": "Your account is limited to 3 simultaneous ngrok agent sessions.\n"
    "See them at https://dashboard.ngrok.com/agents\r\n\r\nERR_NGROK_108",
    "too_old": f'Your ngrok-agent version "{VERSION}" is too old. The minimum supported version '
    'for your account is "3.99.0". Please update with `ngrok update`.\r\n\r\nERR_NGROK_121',
}
"""What the session is refused with. The real agent, too, repeats a token that it does not like."""
WITHOUT_TOKEN = {"silent", "no_network", *REFUSALS}
SCENARIOS = {"ok", "slow", "old_api", "endpoint_online"} | WITHOUT_TOKEN


def setting(text: str, key: str) -> str | None:
    """Return the value of a key anywhere in a configuration, block style or flow style."""
    bare = re.sub(r"(?m)(^|\s)#.*$", "", text)
    found = re.search(rf"""(?:^|[\s{{,])["']?{key}["']?:\s*["']?([^\s"',}}]+)""", bare)
    return found[1] if found else None


def add_authtoken(path: Path, token: str) -> None:
    text = path.read_text() if path.exists() else 'version: "3"\n'
    if old := setting(text, "authtoken"):
        text = text.replace(old, token)
    else:
        text += f"agent:\n    authtoken: {token}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def problem(status: int, code: int, message: str, details: str) -> tuple[int, Any]:
    """Return an error as the API tells it."""
    content = {"error_code": code, "status_code": status, "msg": message}
    return status, content | {"details": {"err": details}}


class Endpoint(NamedTuple):
    name: str
    upstream: str
    asked_url: str | None
    edge: Edge

    def describe(self) -> dict[str, Any]:
        """Return what the API says."""
        metrics = {"conns": {"count": self.edge.passed}, "http": {"count": self.edge.passed}}
        upstream = {"url": self.upstream}
        return {"name": self.name, "url": self.edge.url, "upstream": upstream, "metrics": metrics}

    def state(self) -> dict[str, Any]:
        """Return what the state file says."""
        return self._asdict() | {"edge": self.edge.port, "url": self.edge.url}


class Agent:
    def __init__(self, config_path: Path, token: str | None) -> None:
        self.config_path = config_path
        self.config = config_path.read_text() if config_path.exists() else ""
        self.token = token or os.environ.get("NGROK_AUTHTOKEN") or setting(self.config, "authtoken")
        asked, _, seconds = os.environ.get("FAKE_NGROK_SCENARIO", "ok").partition(":")
        assert asked in SCENARIOS, asked
        self.scenario = asked if self.token or asked in WITHOUT_TOKEN else "no_authtoken"
        self.delay = float(seconds or 3) if asked == "slow" else 0.0
        self.log = Log()
        self.api_address: str | None = None
        self.has_session = False
        self.started_at = time.time()
        self.endpoints: dict[str, Endpoint] = {}
        self.captured: deque[dict[str, Any]] = deque(maxlen=500)
        self._lock = threading.RLock()

    def run(self) -> int:
        """Live until a signal comes, or until the session is refused."""
        self.write_state()
        if self.scenario == "silent":
            threading.Event().wait()
        self.log("info", "open config file", path=self.config_path, err="nil")
        self._serve_api()
        self.log("info", "starting web service", obj="web", addr=self.api_address, allow_hosts="[]")
        if self.scenario in REFUSALS:
            return self._refuse(REFUSALS[self.scenario].format(token=self.token))
        while self.scenario == "no_network":
            self.log("eror", "failed to reconnect session", obj="tunnels.session", err=NO_HOST)
            time.sleep(0.1)
        time.sleep(self.delay)
        self.restore()
        threading.Event().wait()
        return 0

    def _serve_api(self) -> None:
        wanted = int((setting(self.config, "web_addr") or "127.0.0.1:4040").rpartition(":")[2])
        handler = type("AgentApi", (Api,), {"agent": self})
        for port in range(wanted, wanted + 100):
            with suppress(OSError):
                server = LoopbackServer(port, handler)
                break
        self.api_address = f"{HOST}:{server.server_address[1]}"
        self.write_state()
        server.start()

    def _refuse(self, reason: str) -> int:
        error = f"authentication failed: {reason}\r\n"
        self.log.wait_until_read()
        self.log("eror", "session closing", obj="tunnels.session", err=error)
        self.log("eror", "terminating with error", obj="app", err=error)
        self.log("crit", "command failed", err=error)
        self.log.wait_until_read()
        for line in error.splitlines():
            print(f"ERROR:  {line}", file=sys.stderr)
        return 1

    def write_state(self) -> None:
        with self._lock:
            write_state(
                "FAKE_NGROK_STATE",
                token=self.token,
                config_path=str(self.config_path),
                config=self.config,
                api_address=self.api_address,
                has_session=self.has_session,
                started_at=self.started_at,
                endpoints=[endpoint.state() for endpoint in self.endpoints.values()],
            )

    def drop(self) -> None:
        """Lose the session: the API stays and lists the endpoints, their addresses refuse."""
        with self._lock:
            self.has_session = False
            for endpoint in self.endpoints.values():
                endpoint.edge.close()
            end = "read EOF from remote peer"
            self.log("eror", "session closed, starting reconnect loop", obj="csess", err=end)
            self.log("eror", "failed to reconnect session", obj="csess", err=NO_HOST)
            self.write_state()

    def restore(self) -> None:
        """Have a session, with the addresses from before."""
        with self._lock:
            self.has_session = True
            for endpoint in self.endpoints.values():
                endpoint.edge.open()
            self.write_state()
            self.log("info", "client session established", obj="tunnels.session")
            self.log("info", "tunnel session started", obj="tunnels.session")

    def move(self) -> None:
        """Lose the session and get another, with other addresses."""
        with self._lock:
            self.drop()
            for name, endpoint in self.endpoints.items():
                edge = self._edge(name, endpoint.upstream)
                self.endpoints[name] = endpoint._replace(edge=edge)
            self.restore()

    def die(self) -> None:
        """End without a word, once this was answered."""
        threading.Timer(0.02, os._exit, (1,)).start()

    def _edge(self, name: str, upstream: str) -> Edge:
        def failure(error: Exception) -> Page:
            code = 8012 if isinstance(error, ConnectionRefusedError) else 3004
            text = f"<h1>ERR_NGROK_{code}</h1><p>No answer from {upstream}: {error}</p>"
            headers = [("content-type", "text/html"), ("ngrok-error-code", f"ERR_NGROK_{code}")]
            return Page(headers, text.encode())

        return Edge(upstream, failure, lambda passed: self._capture(name, passed))

    def _capture(self, name: str, passed: Passed) -> None:
        """Log a request, and keep it for the inspector unless that is off."""
        self.log("info", "join connections", obj="join", name=name)
        if setting(self.config, "inspect_db_size") == "-1":
            return
        headers: dict[str, list[str]] = {}
        for key, value in passed.headers:
            headers.setdefault(key, []).append(value)
        raw = b64encode(passed.body).decode()
        request = {"method": passed.method, "uri": passed.target, "headers": headers, "raw": raw}
        response = {"status_code": passed.status, "raw": b64encode(passed.answer).decode()}
        described = {"tunnel_name": name, "request": request, "response": response}
        self.captured.appendleft({"id": f"airt_{time.monotonic_ns()}"} | described)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the content of the API's answer."""
        match method, path.split("/", 3)[1:]:
            case "GET", ["api", "status"]:
                status = "online" if self.has_session else "reconnecting"
                return 200, {"status": status, "agent_version": VERSION, "uri": path}
            case "GET", ["api", "requests", "http"]:
                return 200, {"uri": path, "requests": list(self.captured)}
            case _, ["api", "endpoints", *name] if self.scenario != "old_api":
                with self._lock:
                    return self._answer_endpoints(method, unquote("".join(name)), body)
            case "POST", ["stand-in", ("drop" | "restore" | "move" | "die") as action]:
                getattr(self, action)()
                return 200, {}
        return problem(404, 100, "The requested resource does not exist", path)

    def _answer_endpoints(self, method: str, name: str, body: bytes) -> tuple[int, Any]:
        match method, self.endpoints.get(name):
            case "GET", None if not name:
                return 200, {"endpoints": [each.describe() for each in self.endpoints.values()]}
            case "POST", None if not name:
                return self._start_endpoint(json.loads(body))
            case "GET", Endpoint() as endpoint:
                return 200, endpoint.describe()
            case "DELETE", Endpoint() as endpoint:
                endpoint.edge.close()
                del self.endpoints[name]
                self.write_state()
                return 204, None
        return problem(404, 100, "The requested resource does not exist", name)

    def _start_endpoint(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name, upstream, url = asked["name"], asked["upstream"]["url"], asked.get("url")
        failed = "failed to start tunnel"
        if not self.has_session:
            why = "a successful ngrok tunnel session has not yet been established"
            return problem(503, 104, "ngrok is not yet ready to start tunnels", why)
        if self.scenario == "endpoint_online":
            online = f"The endpoint '{url or 'https://name.ngrok-free.dev'}' is already online."
            return problem(502, 103, failed, f"{failed}: {online}\r\n\r\nERR_NGROK_334\r\n")
        try:
            edge = self._edge(name, upstream)
        except ValueError as error:
            return problem(400, 102, "invalid tunnel configuration", str(error))
        endpoint = self.endpoints[name] = Endpoint(name, upstream, url, edge)
        self.write_state()
        self.log("info", "started tunnel", obj="tunnels", name=name, addr=upstream, url=edge.url)
        return 201, endpoint.describe()


class Api(Handler):
    agent: Agent

    def reply(self) -> None:
        path = self.path.partition("?")[0]
        self.agent.log("info", "start", pg=path)
        status, content = self.agent.answer(self.command, path, self.read_body())
        self.agent.log("info", "end", pg=path, status=status)
        self.answer(status, [("content-type", "application/json")], json.dumps(content).encode())

    do_GET = do_POST = do_DELETE = reply  # noqa: N815 # http.server's names


def main() -> int:
    end_on_signals()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    parser = argparse.ArgumentParser(prog="ngrok")
    parser.add_argument("words", nargs="+")
    parser.add_argument("--version", action="version", version=f"ngrok version {VERSION}")
    parser.add_argument("--config", type=Path, default=folder / "ngrok" / "ngrok.yml")
    parser.add_argument("--none", action="store_true")
    for name in ("--log", "--authtoken", "--region"):
        parser.add_argument(name)
    options = parser.parse_args()
    match options.words:
        case ["version"]:
            print(f"ngrok version {VERSION}")
        case ["config", "add-authtoken", token]:
            add_authtoken(options.config, token)
            print(f"Authtoken saved to configuration file: {options.config}")
        case ["start"]:
            return Agent(options.config, options.authtoken).run()
        case _:
            parser.error(f"this stand-in does not know {' '.join(options.words)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
