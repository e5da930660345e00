"""What can be called, and is no plain function."""

from functools import partial

from huggingface_hub import WebhookPayload, WebhooksServer

app = WebhooksServer()


class Bot:
    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, payload: WebhookPayload) -> str:
        return f"{self.name}: {payload.event.scope}"

    async def __call__(self, payload: WebhookPayload) -> str:
        return f"{self.name} called"


def greet(greeting: str, payload: WebhookPayload) -> str:
    return f"{greeting} {payload.repo.name}"


bot = Bot("bot")
app.add_webhook("/method")(bot.answer)
app.add_webhook("/object")(bot)
app.add_webhook("/partial")(partial(greet, "hello"))
app.run()
