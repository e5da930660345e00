"""Who is measured: hfhooks now and before, its peers, and the limits; each serves one handler."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from tests.benchmarks.load import ROOT

__all__ = [
    "BASELINE",
    "BEFORE",
    "DISK",
    "ECHO",
    "GRADIO",
    "NOW",
    "PAYLOAD",
    "REAL_DISK",
    "REQUEST",
    "Contender",
    "contenders",
]

NOW, BEFORE, BASELINE, GRADIO = "hfhooks", "before", "FastAPI", "WebhooksServer"
ECHO, DISK = "only answers", "fdatasync"
BIN = Path(sys.executable).parent
REAL_DISK = Path("/var/tmp")
"""Where temporary files outlive the machine; /tmp is often memory."""
PAYLOAD, REQUEST = "payload", "request"
"""Handlers: one that takes the payload alone, and one that needs FastAPI."""
OF_PAYLOAD = """
async def train(payload: WebhookPayload):
    return {"name": payload.repo.name}
"""
OF_REQUEST = """
async def agent(request: Request) -> str:
    return request.headers.get("user-agent", "")

{decorator}
async def train(
    payload: WebhookPayload,
    request: Request,
    tasks: BackgroundTasks,
    sender: Annotated[str, Depends(agent)],
):
    tasks.add_task(str.upper, sender)
    return {{"name": payload.repo.name, "path": request.url.path}}
"""
IMPORTS = "from typing import Annotated\nfrom fastapi import BackgroundTasks, Depends, Request\n"
HFHOOKS = "from hfhooks import WebhookPayload, webhook_endpoint\n"
FASTAPI = "from fastapi import FastAPI\nfrom hfhooks import WebhookPayload\napp = FastAPI()\n"
POST = '@app.post("/webhooks/train")'
HFHOOKS_SCRIPTS = {
    PAYLOAD: f"{HFHOOKS}@webhook_endpoint{OF_PAYLOAD}",
    REQUEST: IMPORTS + HFHOOKS + OF_REQUEST.format(decorator="@webhook_endpoint"),
}
FASTAPI_SCRIPTS = {
    PAYLOAD: f"{FASTAPI}{POST}{OF_PAYLOAD}",
    REQUEST: IMPORTS + FASTAPI + OF_REQUEST.format(decorator=POST),
}
GRADIO_SCRIPT = f"""import os
from huggingface_hub import WebhookPayload, WebhooksServer
app = WebhooksServer()
@app.add_webhook("/train"){OF_PAYLOAD}
app.launch(share=False, server_port=int(os.environ["PORT"]))
"""
FUNCTIONS_SCRIPT = """import functions_framework
from hfhooks import WebhookPayload
@functions_framework.http
def train(request):
    payload = WebhookPayload.model_validate(request.get_json())
    return {"name": payload.repo.name}
"""
LITESTAR_SCRIPT = """from litestar import Litestar, post
from hfhooks import WebhookPayload
@post("/webhooks/train", status_code=200)
async def train(data: WebhookPayload) -> dict[str, str]:
    return {"name": data.repo.name}
app = Litestar([train])
"""
ROBYN_SCRIPT = """import os
from hfhooks import WebhookPayload
from robyn import Robyn
app = Robyn(__file__)
@app.post("/webhooks/train")
async def train(request):
    payload = WebhookPayload.model_validate_json(request.body)
    return {"name": payload.repo.name}
app.start(host="127.0.0.1", port=int(os.environ["PORT"]))
"""
WEBHOOK_HOOKS = f"""
- id: train
  execute-command: {sys.executable}
  include-command-output-in-response: true
  pass-arguments-to-command:
  - source: string
    name: -c
  - source: string
    name: import json, sys; print(json.dumps(dict(name=json.loads(sys.argv[1])["repo"]["name"])))
  - source: entire-payload
"""
ROBYN = str(ROOT / ".venv/robyn/bin/python")
"""It wants an older uvloop than ours."""


@dataclass(frozen=True)
class Contender:
    """What serves a script; in the command `{port}` is to be replaced."""

    name: str
    command: tuple[str, ...]
    scripts: Mapping[str, str]
    """The scripts with these handlers."""
    file: str = "app.py"
    root: Path = ROOT
    """Where its hfhooks is imported from."""
    disk: Path = REAL_DISK
    """Where its state is."""
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """Modules, and programs by their path."""
    has_gateway: bool = False
    """What it starts runs beside the load, where all others have the first core for themselves."""

    @property
    def missing(self) -> list[str]:
        """Return what it needs and is not installed."""
        return [need for need in self.needs if not (which(need) or _is_module(need))]


def _is_module(name: str) -> bool:
    return name.isidentifier() and find_spec(name) is not None


def contenders(disk: Path, before: Path | None = None) -> list[Contender]:
    """Return all of them; `before` is where an earlier hfhooks is."""
    earlier = [replace(_HFHOOKS, name=BEFORE, root=before)] if before else []
    return [replace(each, disk=disk) for each in (_FASTAPI, _HFHOOKS, *earlier, *PEERS, *LIMITS)]


PYTHON = sys.executable
AT = ("--host", "127.0.0.1", "--port", "{port}")
UVICORN = (
    PYTHON,
    "-m",
    "uvicorn",
    *AT,
    "--http",
    "httptools",
    "--loop",
    "uvloop",
    "--no-access-log",
)
_FASTAPI = Contender(BASELINE, (*UVICORN, "app:app"), FASTAPI_SCRIPTS)
_HFHOOKS = Contender(
    NOW,
    (PYTHON, "-P", "-m", "hfhooks", "serve", "app.py", "--port", "{port}"),
    HFHOOKS_SCRIPTS,
    has_gateway=True,
)
PEERS = (
    Contender(
        GRADIO,
        (PYTHON, "app.py"),
        {PAYLOAD: GRADIO_SCRIPT},
        env={"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
        needs=("gradio", "huggingface_hub"),
    ),
    Contender(
        "functions-framework",
        (str(BIN / "functions-framework"), "--target", "train", "--source", "app.py", *AT),
        {PAYLOAD: FUNCTIONS_SCRIPT},
        needs=("functions_framework",),
    ),
    Contender(
        "granian + FastAPI",
        (PYTHON, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", *AT, "app:app"),
        FASTAPI_SCRIPTS,
        needs=("granian",),
    ),
    Contender("litestar", (*UVICORN, "app:app"), {PAYLOAD: LITESTAR_SCRIPT}, needs=("litestar",)),
    Contender("robyn", (ROBYN, "app.py"), {PAYLOAD: ROBYN_SCRIPT}, needs=(ROBYN,)),
    Contender(
        "webhook",
        (
            *("webhook", "-ip", "127.0.0.1", "-port", "{port}"),
            *("-hooks", "hooks.yaml", "-urlprefix", "webhooks"),
        ),
        {PAYLOAD: WEBHOOK_HOOKS},
        file="hooks.yaml",
        needs=("webhook",),
    ),
)
LIMITS = (
    Contender(ECHO, (PYTHON, "-P", "-m", "tests.benchmarks.echo", "{port}"), {PAYLOAD: ""}),
    Contender(DISK, (), {}),
)
