"""Tunnels by a real ssh to a real sshd."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import Any

import psutil
import pytest

from hfhooks.errors import UsageError
from hfhooks.settings import load_settings
from hfhooks.tunnels.ssh import SERVICES, Ssh
from tests.harness import Server, payload_bytes, post, run_command, wait_until
from tests.tunnels.conftest import SECRETS, SshServer

PULL = payload_bytes("pr_create_v3_docs")
Start = Callable[..., Server]


def ssh_clients(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if child.name() == "ssh"]


def tunnel_lines(server: Server) -> list[dict[str, Any]]:
    return [event for event in server.events if event["type"] == "tunnel"]


def test_a_delivery_comes_through(start: Start, app: Path, sshd: SshServer) -> None:
    server = start(app, "--tunnel", "ssh", "--ssh-host", sshd.host, env=sshd.env)
    ready = server.ready
    assert ready["tunnel"] == "ssh"
    assert ready["url"] != ready["local_url"]
    [endpoint] = ready["endpoints"]
    assert endpoint["url"] == f"{ready['url']}/webhooks/echo"
    answer = post(endpoint["url"], PULL)
    assert (answer.status, answer.json()) == (200, {"repo": "openai-community/gpt2"})
    [client] = ssh_clients(server)
    assert server.stop(signal.SIGINT) == 130
    assert not client.is_running()


def test_it_knows_no_secret_of_ours(start: Start, app: Path, sshd: SshServer) -> None:
    server = start(app, "--tunnel", "ssh", "--ssh-host", sshd.host, env=sshd.env | SECRETS)
    assert server.ready["tunnel"] == "ssh"
    children = psutil.Process(server.process.pid).children()
    programs = {each.name(): each.environ() for each in children if each.name() in ("ssh", "sh")}
    assert programs.keys() == {"ssh", "sh"}  # it, and what ends it with us
    for environment in programs.values():
        assert "PATH" in environment and not SECRETS.keys() & environment.keys()


def test_the_urls_are_printed_and_the_warning_is_louder(
    start: Start, app: Path, sshd: SshServer
) -> None:
    server = start(app, "--ssh-host", sshd.host, env=sshd.env, as_json=False)
    wait_until(lambda: "Press Ctrl-C" in server.stderr, timeout=30)
    [public] = [line for line in server.errors if line.startswith("Running on public URL: ")]
    url = public.split()[-1]
    assert "WARNING: Webhook secret is not set, and the URL is public: anyone may" in server.stderr
    assert "It is not encrypted (http)" in server.stderr
    port = server.errors[[*server.errors].index(public) - 1].rpartition(":")[2].strip()
    printed = run_command("print-urls", "--port", port)
    assert (printed.stdout, printed.stderr) == (f"{url}/webhooks/echo\n", "")
    local = run_command("print-urls", "--port", port, "--local")
    assert local.stdout == f"http://127.0.0.1:{port}/webhooks/echo\n"


def test_a_lost_tunnel_is_said_and_opened_again(start: Start, app: Path, sshd: SshServer) -> None:
    server = start(app, "--ssh-host", sshd.host, env=sshd.env)
    url = server.ready["url"]
    sshd.kill()
    wait_until(lambda: tunnel_lines(server))
    assert tunnel_lines(server) == [{"type": "tunnel", "state": "down", "url": url}]
    port = server.ready["local_url"].rpartition(":")[2]
    asked = run_command("print-urls", "--port", port)
    assert "note: the tunnel is down: nothing arrives by these URLs for now.\n" in asked.stderr
    assert server.post("echo", PULL).status == 200
    sshd.start()
    wait_until(lambda: len(tunnel_lines(server)) == 2, timeout=30)
    again = tunnel_lines(server)[1]
    assert again["state"] == "up"
    assert post(f"{again['url']}/webhooks/echo", PULL).status == 200
    asked = run_command("print-urls", "--port", port)
    assert asked.stdout == f"{again['url']}/webhooks/echo\n"


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_it_ends_with_a_server_that_is_killed(start: Start, app: Path, sshd: SshServer) -> None:
    server = start(app, "--ssh-host", sshd.host, env=sshd.env)
    assert server.ready
    [client] = ssh_clients(server)
    server.stop(signal.SIGKILL)
    wait_until(lambda: not client.is_running() or client.status() == psutil.STATUS_ZOMBIE)


def test_a_reload_does_not_touch_it(
    start: Start, app: Path, sshd: SshServer, script: Callable[..., Path]
) -> None:
    server = start(app, "--ssh-host", sshd.host, "--reload", env=sshd.env)
    url, before = server.ready["url"], ssh_clients(server)
    script(app.read_text().replace("payload.repo.name", "'another'"))
    wait_until(lambda: any(event["type"] == "reload" for event in server.events))
    assert post(f"{url}/webhooks/echo", PULL).json() == {"repo": "another"}
    assert ssh_clients(server) == before
    [reload] = [event for event in server.events if event["type"] == "reload"]
    assert reload["endpoints"][0]["url"] == f"{url}/webhooks/echo"


def test_who_is_not_let_in_is_told(app: Path, sshd: SshServer) -> None:
    sshd.allow(None)
    found = run_command("serve", str(app), "--port", "0", "--ssh-host", sshd.host, env=sshd.env)
    assert found.returncode == 4
    assert found.stderr.startswith("error: ssh has ended: ")
    assert "Permission denied (publickey" in found.stderr
    assert found.stdout == ""


def test_a_host_that_is_not_there(app: Path, sshd: SshServer) -> None:
    sshd.kill()
    found = run_command("serve", str(app), "--port", "0", "--ssh-host", sshd.host, env=sshd.env)
    assert found.returncode == 5
    assert "Connection refused" in found.stderr


def test_a_proxy_of_ones_own_is_another_way(app: Path) -> None:
    options = ("--tunnel", "ssh", "--public-url", "https://hooks.example.com")
    found = run_command("serve", str(app), *options)
    assert (found.returncode, found.stderr.splitlines()[0]) == (
        2,
        "error: --public-url and --tunnel ssh: only one of them.",
    )


@pytest.mark.parametrize(
    ("service", "line", "url"),
    [
        (
            "localhost.run",
            "5a9f.lhr.life tunneled with tls termination, https://5a9f.lhr.life",
            "https://5a9f.lhr.life",
        ),
        (
            "serveo.net",
            "Forwarding HTTP traffic from https://abc.serveo.net",
            "https://abc.serveo.net",
        ),
        ("a.pinggy.io", "https://rnx.a.free.pinggy.link", "https://rnx.a.free.pinggy.link"),
    ],
)
def test_what_services_say(service: str, line: str, url: str) -> None:
    found = SERVICES[service].says.search(line)
    assert found and found[1] == url
    assert not SERVICES[service].says.search("Welcome! See https://twitter.com/someone")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")
@pytest.mark.parametrize(
    ("given", "user", "host", "port", "forward"),
    [
        ("localhost.run", "nokey", "localhost.run", "22", "80 [127.0.0.1]:7860"),
        ("me@localhost.run", "me", "localhost.run", "22", "80 [127.0.0.1]:7860"),
        ("serveo.net", getuser(), "serveo.net", "22", "80 [127.0.0.1]:7860"),
        ("a.pinggy.io", getuser(), "a.pinggy.io", "443", "0 [127.0.0.1]:7860"),
        ("token@a.pinggy.io", "token", "a.pinggy.io", "443", "0 [127.0.0.1]:7860"),
        ("me@example.com", "me", "example.com", "22", "[*]:0 [127.0.0.1]:7860"),
        ("example.com", getuser(), "example.com", "22", "[*]:0 [127.0.0.1]:7860"),
    ],
)
def test_ssh_itself_takes_the_command_line_as_it_is_meant(
    given: str, user: str, host: str, port: str, forward: str
) -> None:
    program, *command = Ssh(load_settings(ssh_host=given)).command("http://127.0.0.1:7860")
    asked = [program, "-F", "none", "-G", *command]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    understood = dict(line.split(" ", 1) for line in said.splitlines())
    names = ("user", "hostname", "port", "remoteforward", "stricthostkeychecking", "batchmode")
    assert [understood[name] for name in names] == [user, host, port, forward, "accept-new", "yes"]


@pytest.mark.parametrize("host", [None, "", "-oProxyCommand=touch x"])
def test_a_host_is_needed(host: str | None) -> None:
    with pytest.raises(UsageError):
        Ssh(load_settings(tunnel="ssh", ssh_host=host))
