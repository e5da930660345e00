import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake_hub
from tests.harness import payload_bytes, run_command, wait_until
from tests.tunnels.conftest import NgrokAgent, install

Script = Callable[..., Path]
Start = Callable[..., Any]

PULL = payload_bytes("pr_create_v3_docs")
ONE = "from hfhooks import webhook_endpoint\n@webhook_endpoint\ndef one(payload): return 1\n"
SOUND = {"HFHOOKS_PORT": "0", "WEBHOOK_SECRET": "a-secret-of-ours", "NGROK_AUTHTOKEN": "x" * 40}


def checked(*arguments: str, cwd: Path, code: int = 0, **env: Any) -> dict[str, dict[str, Any]]:
    """Return the worst check of each name."""
    result = run_command("doctor", *arguments, "--json", cwd=cwd, env=SOUND | env)
    assert result.returncode == code, (result.stdout, result.stderr)
    found: dict[str, dict[str, Any]] = {}
    for line in result.stdout.splitlines():
        check = json.loads(line)
        if check["status"] != "ok" or check["name"] not in found:
            found[check["name"]] = check
    return found


def test_a_sound_machine_has_no_errors(tmp_path: Path) -> None:
    found = checked(cwd=tmp_path)
    assert {check["status"] for check in found.values()} == {"ok"}
    names = ["versions", "secret", "port", "tunnel", "state", "journal", "script", "hub"]
    assert list(found) == names
    assert "fastapi " in found["versions"]["text"]


def test_each_is_a_line_with_what_to_do(tmp_path: Path) -> None:
    result = run_command("doctor", cwd=tmp_path, env={"HFHOOKS_PORT": "0"})
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert lines[0].startswith("✓ ok      versions  hfhooks ")
    assert any(line.startswith("↻ warning secret    WEBHOOK_SECRET is not set") for line in lines)
    assert any(line.strip().startswith("Set WEBHOOK_SECRET, and give") for line in lines)


def test_a_secret_that_protects_nothing_is_an_error(tmp_path: Path) -> None:
    found = checked(cwd=tmp_path, code=1, WEBHOOK_SECRET=" ")
    assert found["secret"]["status"] == "error"


def test_a_port_that_another_program_has_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = checked(cwd=tmp_path, code=1, HFHOOKS_PORT=port)
    assert found["port"]["text"] == f"port {port} is in use."
    assert "--port" in found["port"]["help"]


def test_a_port_of_another_host_is_looked_at(tmp_path: Path) -> None:
    assert checked(cwd=tmp_path, HFHOOKS_HOST="::1")["port"]["status"] == "ok"
    found = checked(cwd=tmp_path, code=1, HFHOOKS_HOST="nowhere.invalid")
    assert "nowhere.invalid" in found["port"]["text"]


def test_a_script_is_loaded(script: Script, tmp_path: Path) -> None:
    script(ONE)
    assert checked("app.py", cwd=tmp_path)["script"]["text"] == "app.py: one"
    script("1 / 0")
    found = checked("app.py", cwd=tmp_path, code=1)
    assert "app.py:1: ZeroDivisionError" in found["script"]["text"]
    assert checked("nope.py", cwd=tmp_path, code=1)["script"]["status"] == "error"


def test_a_script_that_is_not_named_is_not_run(script: Script, tmp_path: Path) -> None:
    script("open('ran', 'w')", "main.py")
    found = checked(cwd=tmp_path)["script"]
    assert (found["status"], found["text"]) == ("ok", "main.py is here, and not run.")
    assert found["help"] == "To load it: hfhooks doctor main.py"
    assert not (tmp_path / "ran").exists()


def test_what_a_pyproject_says_is_named(script: Script, tmp_path: Path) -> None:
    pyproject = script(f"[tool.hfhooks]\nstate_dir = '{tmp_path}/x'\n", "pyproject.toml")
    found = checked(cwd=tmp_path)
    assert found["settings"]["text"] == f"{pyproject} says state_dir = '{tmp_path}/x'."
    assert found["state"]["text"].startswith(f"{tmp_path}/x, ")
    pyproject.chmod(0o666)
    found = checked(cwd=tmp_path)
    assert found["settings"]["status"] == "warning"
    assert f"{pyproject} is ignored: " in found["settings"]["text"]
    assert not found["state"]["text"].startswith(f"{tmp_path}/x, ")


def test_running_servers_and_journals_are_named(
    start: Start, script: Script, tmp_path: Path
) -> None:
    server = start(script(ONE))
    server.post("one", PULL)
    wait_until(lambda: server.deliveries)
    port = server.ready["local_url"].rpartition(":")[2]
    found = checked(cwd=tmp_path, HFHOOKS_PORT=port)
    assert f"process {server.process.pid} at http://127.0.0.1:{port}" in found["server"]["text"]
    assert f"hfhooks, process {server.process.pid}" in found["port"]["text"]
    assert found["journal"]["text"].endswith(": 1 succeeded")


def test_a_damaged_journal_is_an_error(start: Start, script: Script, tmp_path: Path) -> None:
    server = start(script(ONE))
    journal = next(Path(server.ready and _state()).glob("hfhooks/journals/*/journal.db"))
    server.stop()
    journal.write_bytes(b"no database " * 1000)
    found = checked(cwd=tmp_path, code=1)
    assert found["journal"]["status"] == "error"
    assert "damaged" in found["journal"]["text"]


def _state() -> str:
    import os

    return os.environ["XDG_STATE_HOME"]


def test_others_may_not_write_where_state_is(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    found = checked(cwd=tmp_path, code=1, HFHOOKS_STATE_DIR=str(tmp_path / "open"))
    assert found["state"]["status"] == "error"
    assert "chmod" in found["state"]["help"]


def test_the_hub_is_asked_where_there_is_a_token(tmp_path: Path) -> None:
    url = "https://example.com/webhooks/x"
    webhook = {"id": "1", "url": url, "watched": [], "domains": ["repo"], "disabled": True}
    with fake_hub() as hub:
        hub.webhooks = [webhook, webhook | {"disabled": False}]
        found = checked(cwd=tmp_path, HF_TOKEN="hf_t0ken", HF_ENDPOINT=hub.url)
        result = run_command(
            "doctor", cwd=tmp_path, env=SOUND | {"HF_TOKEN": "hf_t0ken", "HF_ENDPOINT": hub.url}
        )
    assert found["hub"]["text"] == f"the webhook to {url} is disabled."
    assert "the token is that of discussion-bot, with 2 webhooks." in result.stdout


def test_a_hub_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    env: dict[str, Any] = {"HF_TOKEN": "hf_t0ken", "HF_ENDPOINT": "http://127.0.0.1:9"}
    found = checked(cwd=tmp_path, code=1, **env)
    assert "the Hub does not answer" in found["hub"]["text"]
    assert "hf_t0ken" not in json.dumps(found)


def test_a_token_that_was_kept_counts_too(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_t0ken")
    with fake_hub() as hub:
        found = checked(cwd=tmp_path, HF_TOKEN_PATH=str(tmp_path / "token"), HF_ENDPOINT=hub.url)
        assert hub.tokens == {"Bearer hf_t0ken"}
    assert found["hub"]["text"].startswith("the token is that of discussion-bot")


def test_ngroks_agent_is_asked_for_its_version(tmp_path: Path) -> None:
    agent = NgrokAgent(tmp_path)
    install("ngrok", agent.program.parent)
    found = checked(cwd=tmp_path, code=0, **agent.env)
    assert f"with an authtoken; its agent is {agent.program}, version 3." in found["tunnel"]["text"]


def test_an_agent_that_does_not_work_is_an_error(tmp_path: Path) -> None:
    agent = NgrokAgent(tmp_path)
    agent.program.parent.mkdir()
    agent.program.write_text("#!/bin/sh\nexit 1")
    agent.program.chmod(0o755)
    found = checked(cwd=tmp_path, code=1, **agent.env)
    assert f"{agent.program} does not work" in found["tunnel"]["text"]


@pytest.mark.parametrize(
    ("tunnel", "status", "said"),
    [
        ("none", "ok", "none is wanted."),
        ("auto", "warning", "no public URL: NGROK_AUTHTOKEN is not set."),
        ("ngrok", "error", "ngrok is chosen, and has no authtoken."),
        ("cloudflared", "error", "the program cloudflared is not installed."),
        ("ssh", "error", "--tunnel ssh needs a host."),
    ],
)
def test_what_a_tunnel_lacks_is_said(tmp_path: Path, tunnel: str, status: str, said: str) -> None:
    code = 1 if status == "error" else 0
    env = {"NGROK_AUTHTOKEN": "", "PATH": str(tmp_path), "HFHOOKS_TUNNEL": tunnel}
    found = checked(cwd=tmp_path, code=code, **env)
    assert found["tunnel"]["status"] == status
    assert said in found["tunnel"]["text"]


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    checked(cwd=tmp_path, HFHOOKS_STATE_DIR=str(tmp_path / "none" / "yet"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("setting", ["HFHOOKS_PORT", "HFHOOKS_WAIT"])
def test_a_wrong_setting_is_an_error(tmp_path: Path, setting: str) -> None:
    found = checked(cwd=tmp_path, code=1, **{setting: "x"})
    assert found["settings"]["status"] == "error"
