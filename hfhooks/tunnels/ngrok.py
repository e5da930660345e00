"""A tunnel of ngrok, by pyngrok, which drives ngrok's own agent."""

import asyncio
import logging
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.request import build_opener, install_opener

import yaml
from pyngrok import conf, installer, ngrok, process
from pyngrok.exception import PyngrokError, PyngrokNgrokHTTPError, PyngrokNgrokInstallError
from pyngrok.log import NgrokLog

from hfhooks.errors import CredentialsError, TunnelError
from hfhooks.model.happenings import Progress
from hfhooks.processes import noted
from hfhooks.redact import redact
from hfhooks.settings import Settings
from hfhooks.tasks import in_thread
from hfhooks.tunnels.probe import ProxyOut
from hfhooks.tunnels.programs import environment, private_folder
from hfhooks.tunnels.tunnel import Gone, Moved, Tell

__all__ = ["TOKEN_HELP", "Ngrok", "looked_at"]

START_WITHIN = 10.0
"""Seconds for the agent to be in session with ngrok."""
OPEN_WITHIN = 15.0
"""Seconds for all of it; an agent that says nothing is not noticed by pyngrok."""
MOST_FAILURES = 3
"""Times that the agent may fail to begin a session."""
PORTS = range(20_000, 32_768)
"""Those that systems give to who takes any are above."""
ASK_EVERY = 2.0
"""Seconds between two questions to the agent what its URL is."""
TOKEN = "NGROK_AUTHTOKEN"  # noqa: S105 # the name of a variable
TOKEN_HELP = f"Copy yours from https://dashboard.ngrok.com/get-started/your-authtoken to {TOKEN}."
WITHOUT = "Without a tunnel: --tunnel none."
TOO_OLD = ("the ngrok agent is too old: it knows no endpoints.", "Update it: ngrok update")
# https://ngrok.com/docs/errors
CAUSES = {
    "ERR_NGROK_4018": (CredentialsError, "ngrok needs an authtoken", TOKEN_HELP),
    "ERR_NGROK_105": (CredentialsError, "ngrok does not know this authtoken", TOKEN_HELP),
    "ERR_NGROK_107": (CredentialsError, "ngrok's authtoken has been revoked", TOKEN_HELP),
    "ERR_NGROK_108": (
        TunnelError,
        "the ngrok account has as many agents running as it may",
        "End one of them: https://dashboard.ngrok.com/agents",
    ),
    "ERR_NGROK_120": (TunnelError, "the ngrok agent is too old", "Update it: ngrok update"),
    "ERR_NGROK_121": (TunnelError, "the ngrok agent is too old", "Update it: ngrok update"),
    "ERR_NGROK_334": (
        TunnelError,
        "the ngrok URL is in use by another agent",
        "End that one, or choose another URL with --domain.",
    ),
    "ERR_NGROK_725": (TunnelError, "the ngrok account has used up its month's bytes", WITHOUT),
    "ERR_NGROK_727": (TunnelError, "the ngrok account has used up its month's requests", WITHOUT),
}
NO_NETWORK = re.compile(r"dial tcp|no such host|network is unreachable|i/o timeout")
RENAMED = {"root_cas": "connect_cas", "server_addr": "connect_url"}
"""Settings of the agent that version 3 of its configuration calls otherwise."""
KEPT = (
    "api_key",
    "authtoken",
    "connect_timeout",
    "dns_resolver_ips",
    "heartbeat_interval",
    "heartbeat_tolerance",
    "metadata",
    "proxy_url",
)
"""Those that it calls the same."""
OURS = {
    "console_ui": False,
    "inspect_db_size": -1,  # its local API would show every header to whoever asks
    "log_format": "logfmt",
    "log_level": "info",
    "remote_management": False,
    "update_check": False,
}
"""Settings of the agent that are not the user's to choose."""


class Ngrok:
    name = "ngrok"
    probe_every = 600.0
    """A free account has 20,000 requests a month."""
    must_answer = True

    def __init__(self, settings: Settings) -> None:
        self._domain = settings.domain
        logger = logging.getLogger("pyngrok")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False  # what it says, we say
        install_opener(build_opener(ProxyOut))  # for pyngrok

    @asynccontextmanager
    async def open(self, local_url: str, tell: Tell) -> AsyncIterator[str]:
        settings = _agent_settings()
        if not settings.get("authtoken"):
            raise _error("ERR_NGROK_4018")
        loop = asyncio.get_running_loop()
        program = await in_thread(
            _installed, lambda text: loop.call_soon_threadsafe(tell, Progress(text))
        )
        with private_folder() as folder, ExitStack() as stack:
            agent = stack.enter_context(closing(_Agent(program, folder, settings)))
            connecting = asyncio.ensure_future(in_thread(agent.connect, local_url, self._domain))
            try:
                async with asyncio.timeout(OPEN_WITHIN):
                    if await agent.has_started(connecting):
                        stack.enter_context(noted(agent.pid))
                    url = await connecting
            except TimeoutError:
                text = f"the ngrok agent has not opened a tunnel in {OPEN_WITHIN:g} seconds."
                raise TunnelError(text, f"See what it says: {program} http 80") from None
            except (PyngrokError, OSError, ValueError) as error:
                if agent.is_too_old:
                    raise TunnelError(*TOO_OLD) from error
                raise _explained(error, agent.complaint) from error
            stack.callback(asyncio.create_task(_watch(agent, url, tell)).cancel)
            yield url


async def _watch(agent: "_Agent", url: str, tell: Tell) -> None:
    """Report when the agent says something about its session, has another URL, or is gone."""
    seen: tuple[str | None, int] = (url, agent.sessions)
    why = "the ngrok agent has ended."
    try:
        while agent.is_running:
            await asyncio.sleep(ASK_EVERY)
            now = (await in_thread(agent.url), agent.sessions)
            if now != seen:
                url, seen = now[0] or url, now
                tell(Moved(url))
    except Exception as error:  # noqa: BLE001 # whatever it is, it is opened anew
        why = str(error) or type(error).__name__
    tell(Gone(why))


class _Agent:
    """An agent of ours alone: its own settings, its own port."""

    def __init__(self, program: str, folder: Path, settings: dict[str, Any]) -> None:
        self.sessions = 0
        """How often its session with ngrok began, broke, or could not begin."""
        self.is_too_old = False
        self._failures = 0
        address = f"127.0.0.1:{_free_port()}"
        self._api = f"http://{address}/api/endpoints"
        config = folder / "ngrok.yml"
        config.touch(0o600)
        own = {**settings, **OURS, "web_addr": address}
        config.write_text(yaml.safe_dump({"version": "3", "agent": own}))
        self._said = folder / "stderr"
        self._path = program if os.name == "nt" else str(self._quiet(program, folder))
        self._config = conf.PyngrokConfig(
            ngrok_path=self._path,
            config_path=str(config),
            log_event_callback=self._on_log,
            startup_timeout=int(START_WITHIN),
            start_new_session=os.name != "nt",  # Ctrl-C is for us, who end it in our own time
        )
        self._config.auth_token = None  # as an argument everybody could read it; the file has it
        self._is_open = False

    def connect(self, local_url: str, domain: str | None) -> str:
        """Start it and return its public URL. Raises `PyngrokError`."""
        url = {"url": f"https://{domain}"} if domain else {}
        tunnel = ngrok.connect(local_url, name="hfhooks", pyngrok_config=self._config, **url)
        self._is_open = True
        return str(tunnel.public_url)

    async def has_started(self, connecting: "asyncio.Future[str]") -> bool:
        """Tell, once it is known, whether there is a process."""
        while self._process is None and not connecting.done():
            await asyncio.sleep(0.01)
        return self.is_running

    def url(self) -> str | None:
        """Return the public URL that it has now; None if it does not say."""
        with suppress(PyngrokError, OSError, ValueError, KeyError, IndexError):
            return str(ngrok.api_request(self._api, timeout=ASK_EVERY)["endpoints"][0]["url"])
        return None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def complaint(self) -> str:
        """What it has said beside its log, which pyngrok may have read no more."""
        with suppress(OSError):
            return self._said.read_text(errors="replace").replace("ERROR:", "").strip()
        return ""

    def close(self) -> None:
        """End it, also while it is being started."""
        if process := self._process:
            process.kill()
            process.wait()

    @property
    def _process(self) -> "subprocess.Popen[str] | None":
        # pyngrok holds its lock for as long as it starts an agent, so it cannot be asked.
        started = process._current_processes.get(self._path)
        return started.proc if started else None

    def _on_log(self, log: NgrokLog) -> None:
        """Hear a line of the agent's log; end it where pyngrok would wait for nothing."""
        message = log.msg or ""
        self.sessions += "session" in message
        if self._is_open:
            return
        self._failures += "failed to reconnect" in message
        self.is_too_old = "session started" in message and self._knows_no_endpoints()
        if self.is_too_old or self._failures == MOST_FAILURES:
            self.close()

    def _knows_no_endpoints(self) -> bool:
        try:
            ngrok.api_request(self._api, timeout=ASK_EVERY)
        except PyngrokNgrokHTTPError as error:
            return error.status_code == HTTPStatus.NOT_FOUND
        except (PyngrokError, OSError, ValueError):
            pass
        return False

    def _quiet(self, program: str, folder: Path) -> Path:
        """Return a program that is the agent, but for stderr and secrets, which pyngrok leaves."""
        secrets = " ".join(["_", *(os.environ.keys() - environment().keys())])
        line = f'exec {shlex.quote(program)} "$@" 2>{shlex.quote(str(self._said))}'
        (script := folder / "ngrok").write_text(f"#!/bin/sh\nunset {secrets}\n{line}\n")
        script.chmod(0o700)
        return script


def _free_port() -> int:
    """Return a port that nobody has, nor is given who takes any: the agent takes it a bit later."""
    for port in random.sample(PORTS, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise TunnelError("no port of this machine is free for the ngrok agent.")


def _agent_settings() -> dict[str, Any]:
    """Return what ngrok's own configuration says about the agent, as version 3 of it would.

    `NGROK_AUTHTOKEN` counts more than the token there. Raises `TunnelError` if it is no YAML.
    """
    file = Path(conf.DEFAULT_NGROK_CONFIG_PATH)
    content: Any = None
    with suppress(OSError):
        try:
            content = yaml.safe_load(file.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
            raise TunnelError(f"{file}:{line}: no YAML.", "Mend it: ngrok config edit") from error
    settings = _of_version_3(content) if isinstance(content, dict) else {}
    if token := os.environ.get(TOKEN, "").strip():
        settings["authtoken"] = token
    redact.learn(str(settings.get("authtoken", "")))
    return settings


def _of_version_3(content: dict[str, Any]) -> dict[str, Any]:
    if str(content.get("version")) == "3":
        agent = content.get("agent")
        return {k: v for k, v in agent.items() if k != "log"} if isinstance(agent, dict) else {}
    return {RENAMED.get(name, name): content[name] for name in (*KEPT, *RENAMED) if name in content}


def _installed(say: Callable[[str], object]) -> str:
    """Return the path of the agent, which is fetched if there is none. Raises `TunnelError`."""
    path = _agent_path()
    if Path(path).exists():
        return path
    # pyngrok would print to stdout, which is for data.
    vars(installer).update(_print_progress=say, _clear_progress=lambda: None)
    try:
        installer.install_ngrok(path)
    except (PyngrokNgrokInstallError, OSError) as error:
        help = f"Install it yourself: https://ngrok.com/download. {WITHOUT}"
        reason = str(error).rpartition(": ")[2].strip("<>")
        text = f"the ngrok agent is not installed and cannot be fetched: {reason}."
        raise TunnelError(text, help) from error
    return path


def _agent_path() -> str:
    return os.environ.get("PYNGROK_NGROK_PATH") or _on_path() or conf.DEFAULT_NGROK_PATH


def looked_at() -> tuple[bool, str, str | None]:
    """Return whether there is an authtoken, where the agent is, and its version if it is there.

    Raises `TunnelError` where ngrok's own configuration, or the agent, is broken.
    """
    path = _agent_path()
    version = None
    if Path(path).exists():
        try:
            ask, env = [path, "--version"], environment()
            asked = subprocess.run(ask, capture_output=True, timeout=10, check=True, env=env)
        except (OSError, subprocess.SubprocessError) as error:
            raise TunnelError(f"{path} does not work: {error}", "Install it anew.") from error
        version = asked.stdout.decode(errors="replace").strip().rpartition(" ")[2]
    return bool(_agent_settings().get("authtoken")), path, version


def _on_path() -> str | None:
    for folder in os.get_exec_path():
        found = shutil.which("ngrok", path=folder)
        # pyngrok has a command of this name too, which would fetch the agent in its own way.
        if found and b"from pyngrok" not in Path(found).read_bytes()[:1000]:
            return found
    return None


def _explained(error: Exception, complaint: str) -> TunnelError:
    told = (getattr(error, "ngrok_error", None), getattr(error, "body", None), complaint)
    text = next(filter(None, told), str(error))
    if (code := re.search(r"ERR_NGROK_\d+", text)) and code[0] in CAUSES:
        return _error(code[0])
    if NO_NETWORK.search(text):
        return TunnelError("ngrok cannot be reached: no network, or a firewall.", WITHOUT)
    first = re.split(r"\\r|\\n|[\r\n]", text)[0]
    help = f"https://ngrok.com/docs/errors/{code[0].lower()}" if code else WITHOUT
    return TunnelError(f"ngrok: {first}", help)


def _error(code: str) -> TunnelError:
    kind, text, help = CAUSES[code]
    return kind(f"{text} ({code}).", help)
