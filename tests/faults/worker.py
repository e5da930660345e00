"""A script that breaks the worker which has loaded it."""

from pathlib import Path

from tests.faults import inject

__all__ = ["script_that_breaks"]

SCRIPT = """
import asyncio, runpy, sys, threading, time
from pathlib import Path
from hfhooks import Delivery, WebhooksServer

here = Path(__file__).parent

def is_struck():
    is_there = threading.current_thread().name.startswith({thread!r})
    return is_there and (here / "strike").exists()

runpy.run_path({inject!r})["break_at"]({seam!r}, is_struck)
app = WebhooksServer()

@app.add_webhook
async def quick(payload: dict): ...

@app.add_webhook
async def through_the_app(delivery: Delivery): ...

@app.add_webhook
async def blocks():
    while not (here / "go").exists():
        time.sleep(0.01)

@app.add_webhook
async def leaves():
    asyncio.get_running_loop().call_soon(sys.exit)

@app.fastapi_app.get("/page")
async def page(): ...
"""


def script_that_breaks(seam: str, thread: str = "") -> str:
    """Return a script that breaks this, while there is a file `strike` beside it.

    It is that of the whole process, or of one thread.
    """
    return SCRIPT.format(seam=seam, thread=thread, inject=str(Path(inject.__file__)))
