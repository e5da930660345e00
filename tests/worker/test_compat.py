"""Scripts as their authors wrote them for huggingface_hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import payload_bytes, wait_until

pytest.importorskip("huggingface_hub")

PULL = payload_bytes("pr_create_v3_docs")
UPDATE = payload_bytes("dataset_content_update_main_v3_built")
QUICK_START = """
from huggingface_hub import webhook_endpoint, WebhookPayload

@webhook_endpoint
async def trigger_training(payload: WebhookPayload) -> None:
    if payload.repo.type == "dataset" and payload.event.action == "update":
        # Trigger a training job if a dataset is updated
        print("training on", payload.repo.name)
"""
CUSTOM_SERVER = """
from huggingface_hub import WebhooksServer, WebhookPayload

app = WebhooksServer(webhook_secret="my_secret_key")

# Register webhook with explicit name
@app.add_webhook("/say_hello")
async def hello(payload: WebhookPayload):
    return {"message": "hello"}

# Register webhook with implicit name
@app.add_webhook
async def goodbye(payload: WebhookPayload):
    return {"message": "goodbye"}

app.launch(server_name="0.0.0.0", share=True, prevent_thread_lock=True)
"""
Start = Callable[..., Any]
Script = Callable[..., Path]


def test_the_guides_first_script(start: Start, script: Script) -> None:
    server = start(script(QUICK_START))
    answer = server.post("trigger_training", UPDATE)
    assert (answer.status, answer.body) == (200, b"null")
    wait_until(lambda: "training on " in server.stderr)


def test_the_guides_own_server(start: Start, script: Script) -> None:
    server = start(script(CUSTOM_SERVER))
    secret = {"x_webhook_secret": "my_secret_key"}
    assert server.post("say_hello", PULL, **secret).json() == {"message": "hello"}
    assert server.post("goodbye", PULL, **secret).json() == {"message": "goodbye"}
    assert server.post("goodbye", PULL).status == 401


@pytest.mark.parametrize(
    "lines",
    [
        "from huggingface_hub import *\n@webhook_endpoint\ndef a(payload: WebhookPayload):",
        "import huggingface_hub as hub\n@hub.webhook_endpoint\ndef a(payload: hub.WebhookPayload):",
        "from huggingface_hub._webhooks_server import webhook_endpoint\n"
        "from huggingface_hub._webhooks_payload import WebhookPayload\n"
        "@webhook_endpoint()\ndef a(payload: WebhookPayload):",
        "import huggingface_hub._webhooks_payload\n"
        "from huggingface_hub import WebhookPayload, HfApi, webhook_endpoint\n"
        "api = HfApi()\n@webhook_endpoint('a')\ndef a(payload: WebhookPayload):",
        "from __future__ import annotations\n"
        "from huggingface_hub import WebhookPayload, WebhookPayloadRepo, webhook_endpoint\n"
        "@webhook_endpoint\ndef a(payload: WebhookPayload):\n"
        "    assert isinstance(payload.repo, WebhookPayloadRepo)",
    ],
    ids=["star", "module", "submodules", "beside others", "strings"],
)
@pytest.mark.parametrize("options", [(), ("--reload",)], ids=["once", "reload"])
def test_however_it_asks(
    start: Start, script: Script, lines: str, options: tuple[str, ...]
) -> None:
    text = f"{lines}\n    return payload.repo.headSha\n"
    server = start(script(text), *options)
    assert server.post("a", UPDATE).json()
    if options:
        script(text + "# saved\n")
        wait_until(lambda: any(event["type"] == "reload" for event in server.events))
        assert server.post("a", UPDATE).json()


def test_what_gradio_is_for_is_not_needed(start: Start, script: Script) -> None:
    text = QUICK_START + "    import sys\n    return 'gradio' in sys.modules\n"
    server = start(script(text.replace("-> None", "")))
    assert server.post("trigger_training", PULL).json() is False


def test_who_launches_early_is_not_held_up(start: Start, script: Script) -> None:
    server = start(script(QUICK_START + "\ntrigger_training.launch()\nprint('went on')\n"))
    assert server.post("trigger_training", PULL).status == 200
    wait_until(lambda: "went on" in server.stderr)


def test_what_the_hubs_own_model_refuses_is_handled(start: Start, script: Script) -> None:
    server = start(script(QUICK_START))
    for name in ("bucket_content_update_v3_docs", "unknown_scope_repo_config_dois_v3_built"):
        assert server.post("trigger_training", payload_bytes(name)).status == 200
    assert {line["status"] for line in server.deliveries} <= {"succeeded"}


def test_what_is_not_webhooks_stays_the_hubs(start: Start, script: Script) -> None:
    text = QUICK_START.replace("-> None", "") + (
        "    import huggingface_hub\n"
        "    return [huggingface_hub.HfApi.__module__, huggingface_hub.__version__]\n"
    )
    import huggingface_hub

    server = start(script(text))
    answer = server.post("trigger_training", PULL).json()
    assert answer == ["huggingface_hub.hf_api", huggingface_hub.__version__]
