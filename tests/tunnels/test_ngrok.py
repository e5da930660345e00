"""Tunnels of ngrok: the real pyngrok drives a program that speaks as ngrok's agent does."""

import io
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import yaml

from hfhooks.private import state_folder
from tests.harness import Server, payload_bytes, post, run_command, wait_until
from tests.tunnels.conftest import SECRETS, TOKEN, NgrokAgent, install

PULL = payload_bytes("pr_create_v3_docs")
Start = Callable[..., Server]


def serve(app: Path, agent: NgrokAgent, *options: str) -> Any:
    """Run the command to its end, which it is expected to find by itself."""
    arguments = ("serve", str(app), "--port", "0", "--tunnel", "ngrok", *options)
    return run_command(*arguments, env=agent.env)


def tunnel_lines(server: Server) -> list[dict[str, Any]]:
    return [event for event in server.events if event["type"] == "tunnel"]


def holding(text: str, *folders: Path) -> list[Path]:
    """Return the files in which a text stands."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if text.encode() in file.read_bytes()]


def write_config(content: str) -> None:
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "ngrok" / "ngrok.yml"
    file.parent.mkdir(parents=True)
    file.write_text(content)


def test_a_token_is_enough_for_a_public_url(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    ready = server.ready
    [endpoint] = agent.state["endpoints"]
    assert (ready["tunnel"], ready["url"]) == ("ngrok", endpoint["url"])
    assert endpoint["upstream"] == ready["local_url"]
    answer = post(ready["endpoints"][0]["url"], PULL)
    assert (answer.status, answer.json()) == (200, {"repo": "openai-community/gpt2"})
    assert run_command("print-urls").stdout == f"{ready['url']}/webhooks/echo\n"
    assert server.stop(signal.SIGINT) == 130
    assert not agent.is_running
    assert [*(state_folder() / "programs").iterdir()] == []


def test_the_agent_shows_nothing_and_hides_the_token(
    start: Start, app: Path, agent: NgrokAgent
) -> None:
    assert agent.token
    server = start(app, env=agent.env)
    post(server.ready["endpoints"][0]["url"], PULL, x_webhook_secret="s3cret")
    assert agent.api("GET", "/api/requests/http").json()["requests"] == []
    state = agent.state
    assert state["token"] == agent.token
    assert agent.token not in " ".join(state["argv"])
    config = Path(state["config_path"])
    assert [path.stat().st_mode & 0o777 for path in (config.parent, config)] == [0o700, 0o600]


def test_the_agent_knows_no_secret_of_ours(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env | SECRETS)
    assert server.ready["tunnel"] == "ngrok"
    assert "NGROK_AUTHTOKEN" in agent.state["environment"]
    assert not SECRETS.keys() & {*agent.state["environment"]}


def test_a_domain_is_asked_for(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, "--domain", "my-hooks.ngrok-free.dev", env=agent.env)
    assert server.ready["tunnel"] == "ngrok"
    assert agent.state["endpoints"][0]["asked_url"] == "https://my-hooks.ngrok-free.dev"


def test_a_proxy_that_leads_out_is_not_asked_for_what_is_here(
    start: Start, app: Path, agent: NgrokAgent
) -> None:
    proxies = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "10.0.0.0"}
    # The stand-in's public URL is here, too.
    server = start(app, "--tunnel", "ngrok", env=agent.env | proxies)
    assert server.ready["tunnel"] == "ngrok"


@pytest.mark.parametrize(
    "config",
    [
        "version: '3'\nagent:\n  authtoken: of_the_file\n  proxy_url: http://proxy.test\n"
        "  log_format: json\n  web_addr: 0.0.0.0:4040\nendpoints:\n- name: pyngrok-default\n",
        "version: '2'\nauthtoken: of_the_file\nproxy_url: http://proxy.test\nregion: eu\n"
        "log: /var/log/ngrok.log\ntunnels: {a: {addr: 80, proto: http}}\n",
    ],
    ids=["version 3", "version 2"],
)
def test_ngroks_own_configuration_counts(
    start: Start, app: Path, agent: NgrokAgent, config: str
) -> None:
    write_config(config)
    agent.token = None
    server = start(app, env=agent.env)
    assert server.ready["tunnel"] == "ngrok"
    used = yaml.safe_load(agent.state["config"])
    assert (agent.state["token"], used["version"]) == ("of_the_file", "3")
    assert used["agent"]["proxy_url"] == "http://proxy.test"
    assert used["agent"]["inspect_db_size"] == -1
    assert used["agent"]["web_addr"].startswith("127.0.0.1:")
    assert "endpoints" not in used and "log" not in used["agent"]


def test_a_broken_configuration_is_named(app: Path, agent: NgrokAgent) -> None:
    write_config("version: '3'\nagent: [\n")
    found = serve(app, agent)
    assert found.returncode == 5
    assert found.stderr.endswith("ngrok.yml:3: no YAML.\nhelp: Mend it: ngrok config edit\n")


TOKEN_HELP = (
    "Copy yours from https://dashboard.ngrok.com/get-started/your-authtoken to NGROK_AUTHTOKEN."
)


FAILURES = {
    "no_authtoken": (4, "ngrok needs an authtoken (ERR_NGROK_4018).", TOKEN_HELP),
    "bad_authtoken": (4, "ngrok does not know this authtoken (ERR_NGROK_105).", TOKEN_HELP),
    "revoked": (4, "ngrok's authtoken has been revoked (ERR_NGROK_107).", TOKEN_HELP),
    "session_limit": (
        5,
        "the ngrok account has as many agents running as it may (ERR_NGROK_108).",
        "End one of them: https://dashboard.ngrok.com/agents",
    ),
    "too_old": (5, "the ngrok agent is too old (ERR_NGROK_121).", "Update it: ngrok update"),
    "endpoint_online": (
        5,
        "the ngrok URL is in use by another agent (ERR_NGROK_334).",
        "End that one, or choose another URL with --domain.",
    ),
    "no_network": (
        5,
        "ngrok cannot be reached: no network, or a firewall.",
        "Without a tunnel: --tunnel none.",
    ),
    "old_api": (
        5,
        "the ngrok agent is too old: it knows no endpoints.",
        "Update it: ngrok update",
    ),
    "silent": (
        5,
        "the ngrok agent has not opened a tunnel in 15 seconds.",
        "See what it says: PROGRAM http 80",
    ),
}


def test_each_failure_is_one_line_and_what_to_do(start: Start, app: Path, tmp_path: Path) -> None:
    """At the same time, because some take a while."""
    agents = {name: NgrokAgent(tmp_path / name, scenario=name) for name in FAILURES}
    servers = {}
    for name, agent in agents.items():
        agent.folder.mkdir()
        install("ngrok", agent.program.parent)
        servers[name] = start(
            app, "--tunnel", "ngrok", "--state-dir", agent.folder / "s", env=agent.env
        )
    for name, (code, error, help) in FAILURES.items():
        server, agent = servers[name], agents[name]
        assert server.process.wait(timeout=60) == code, name
        server.stop()
        help = help.replace("PROGRAM", str(agent.program))
        assert server.said == f"error: {error}\nhelp: {help}\n"
        assert server.lines == []
        assert not agent.is_running
        assert not holding(TOKEN, agent.folder / "s")
    assert not holding(TOKEN, state_folder())


def test_without_a_token_it_is_not_even_tried(app: Path, agent: NgrokAgent) -> None:
    agent.token = None
    found = serve(app, agent)
    assert (found.returncode, agent.has_run) == (4, False)
    assert (
        found.stderr == f"error: ngrok needs an authtoken (ERR_NGROK_4018).\nhelp: {TOKEN_HELP}\n"
    )


def test_what_was_not_asked_for_by_name_is_no_reason_not_to_serve(
    start: Start, app: Path, agent: NgrokAgent
) -> None:
    agent.scenario = "bad_authtoken"
    server = start(app, env=agent.env)
    ready = server.ready
    assert (ready["tunnel"], ready["url"]) == (None, ready["local_url"])
    wait_until(lambda: "ERR_NGROK_105" in server.stderr)
    assert server.post("echo", PULL).status == 200


def test_a_lost_session_is_said_and_found_again(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    url, pid = server.ready["url"], agent.state["pid"]
    agent.obey("drop")
    wait_until(lambda: tunnel_lines(server), timeout=20)
    assert tunnel_lines(server) == [{"type": "tunnel", "state": "down", "url": url}]
    wait_until(lambda: "note: no public URL for now: " in server.stderr)
    agent.obey("restore")
    wait_until(lambda: len(tunnel_lines(server)) == 2, timeout=20)
    assert tunnel_lines(server)[1] == {"type": "tunnel", "state": "up", "url": url}
    assert post(f"{url}/webhooks/echo", PULL).status == 200
    assert agent.state["pid"] == pid


def test_a_changed_url_is_announced(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    before = server.ready["url"]
    agent.obey("move")
    wait_until(lambda: any(line["url"] != before for line in tunnel_lines(server)), timeout=20)
    up = tunnel_lines(server)[-1]
    assert up["state"] == "up"
    assert post(f"{up['url']}/webhooks/echo", PULL).status == 200
    assert run_command("print-urls").stdout == f"{up['url']}/webhooks/echo\n"


def test_a_changed_url_is_shown_to_a_person(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env, as_json=False)
    wait_until(lambda: "Press Ctrl-C" in server.stderr, timeout=30)
    agent.obey("move")
    wait_until(lambda: "  the public URL is http://127.0.0.1:" in server.stderr, timeout=20)
    wait_until(lambda: server.stderr.count("Set it up at https://huggingface.co/settings/webhooks"))
    assert server.stderr.count("  POST http://127.0.0.1:") == 2


def test_an_agent_that_dies_is_started_again(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    assert server.ready
    pid = agent.state["pid"]
    agent.obey("die")
    wait_until(lambda: [line["state"] for line in tunnel_lines(server)] == ["down", "up"], 30)
    assert agent.state["pid"] != pid
    wait_until(lambda: "the ngrok agent has ended." in server.stderr)


def test_deliveries_come_through_reloads(
    start: Start, app: Path, agent: NgrokAgent, script: Callable[..., Path]
) -> None:
    server = start(app, "--reload", env=agent.env)
    url, pid = server.ready["endpoints"][0]["url"], agent.state["pid"]
    for number in range(3):
        script(app.read_text() + f"\nnumber = {number}\n")
        while len([event for event in server.events if event["type"] == "reload"]) <= number:
            assert post(url, PULL).status == 200
    assert (agent.state["pid"], tunnel_lines(server)) == (pid, [])


def test_it_ends_with_a_server_that_is_killed(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    assert server.ready
    server.stop(signal.SIGKILL)
    wait_until(lambda: not agent.is_running)


def test_an_orphan_is_ended_by_the_next_start(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    assert server.ready
    before = agent.state["pid"]
    guards = [
        child for child in psutil.Process(server.process.pid).children() if child.name() == "sh"
    ]
    for guard in guards:
        guard.kill()
    server.stop(signal.SIGKILL)
    assert agent.is_running and len(guards) == 1
    second = start(app, env=agent.env)
    assert second.ready["tunnel"] == "ngrok"
    assert agent.state["pid"] != before
    wait_until(lambda: not psutil.pid_exists(before))
    assert len([*(state_folder() / "programs").iterdir()]) == 1


def test_ctrl_c_while_it_opens_ends_everything(start: Start, app: Path, agent: NgrokAgent) -> None:
    agent.scenario = "slow:60"
    server = start(app, env=agent.env)
    wait_until(lambda: "still opening the ngrok tunnel" in server.stderr, timeout=30)
    assert server.stop(signal.SIGINT) == 130
    assert not agent.is_running
    assert server.events == [{"type": "stopped"}]


def test_a_script_that_is_wrong_leaves_no_agent(
    agent: NgrokAgent, script: Callable[..., Path]
) -> None:
    found = serve(script("1 / 0\n"), agent)
    assert found.returncode == 3
    assert not agent.has_run or not agent.is_running


@pytest.fixture
def download(agent: NgrokAgent) -> Iterator[str]:
    """An address from which the agent can be fetched, as from ngrok's own."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(agent.program, arcname="ngrok")
    content = archive.getvalue()

    class Downloads(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Downloads) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/ngrok-v3-stable-linux-amd64.tgz"
        server.shutdown()
        thread.join()


def test_the_agent_is_fetched_if_there_is_none(
    download: str, agent: NgrokAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pyngrok import conf, installer

    from hfhooks.tunnels import ngrok

    path = tmp_path / "fetched" / "ngrok"
    monkeypatch.setattr(conf, "DEFAULT_NGROK_PATH", str(path))
    monkeypatch.setattr(installer, "PLATFORMS", dict.fromkeys(installer.PLATFORMS, download))
    monkeypatch.setattr(installer, "_print_progress", None)
    monkeypatch.setattr(installer, "_clear_progress", None)
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    assert ngrok._installed(said.append) == str(path)
    assert path.read_bytes() == agent.program.read_bytes()
    assert said[0] == "Downloading ngrok ..."
    assert "Downloading ngrok: 100%" in said
    assert ngrok._installed(said.append) == str(path)


def test_an_agent_that_cannot_be_fetched(app: Path, agent: NgrokAgent) -> None:
    agent.program.unlink()
    found = serve(app, agent)
    assert found.returncode == 5
    [error, help] = [line for line in found.stderr.splitlines() if not line.startswith("note: ")]
    assert error.startswith("error: the ngrok agent is not installed and cannot be fetched: ")
    assert help == (
        "help: Install it yourself: https://ngrok.com/download. Without a tunnel: --tunnel none."
    )


def test_json_lines_stay_json_lines(start: Start, app: Path, agent: NgrokAgent) -> None:
    server = start(app, env=agent.env)
    assert server.ready
    server.stop()
    assert [json.loads(line)["type"] for line in server.lines] == ["ready", "stopped"]
    assert "ngrok" not in server.stderr


REAL_AGENT = Path(sys.prefix) / "ngrok/node_modules/@expo/ngrok-bin-linux-x64/ngrok"


@pytest.mark.skipif(not REAL_AGENT.exists(), reason="needs ngrok's own agent: see .ci/run")
def test_the_real_agent_without_a_network(app: Path, agent: NgrokAgent) -> None:
    agent.program.unlink()
    agent.program.symlink_to(REAL_AGENT)
    found = serve(app, agent)
    assert found.returncode == 5
    assert found.stderr.splitlines()[-2:] == [
        "error: ngrok cannot be reached: no network, or a firewall.",
        "help: Without a tunnel: --tunnel none.",
    ]
