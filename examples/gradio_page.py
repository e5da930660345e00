"""A Gradio page beside an endpoint: what has come in is seen in a browser.

    pip install gradio
    hfhooks serve examples/gradio_page.py

The page is at the server's own URL, the endpoint at /webhooks/push.
"""

from collections import deque

import gradio as gr

from hfhooks import WebhookPayload, WebhooksServer

pushes: deque[list[str]] = deque(maxlen=100)


def latest() -> list[list[str]]:
    return list(pushes)


with gr.Blocks(title="Pushes") as ui:
    gr.Markdown("## Pushes")
    table = gr.Dataframe(latest, headers=["repository", "commit"], every=5)
    gr.Button("Refresh").click(latest, None, table)

app = WebhooksServer(ui=ui)


@app.add_webhook(on="repo.content:update")
def push(payload: WebhookPayload) -> None:
    pushes.appendleft([payload.repo.name, payload.repo.headSha or ""])


app.launch()
