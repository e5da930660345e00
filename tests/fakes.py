"""Stand-ins for what is not on this machine: they speak the real protocol, and remember."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

NOW = "2026-11-22T10:00:00.000Z"


@dataclass
class FakeHub:
    """The part of the Hub's API that the examples use, as huggingface_hub calls it.

    Also a language model with OpenAI's API, at `url`, which answers with the question in capitals.
    """

    url: str = ""
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Metadata of a card, by `models/owner/name`."""
    discussions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By `models/owner/name`; each with its title and comments."""
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    """Of the account, as the API describes them."""
    tokens: set[str] = field(default_factory=set)
    """What clients have shown as authorization."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "GET", ["api", "whoami-v2"]:
                return 200, {"type": "user", "id": "b07", "name": "discussion-bot"}
            case "GET", ["api", "settings", "webhooks"]:
                return 200, self.webhooks
            case "POST", ["v1", "chat", "completions"]:
                return 200, self._completion(body)
            case "GET", ["api", kind, owner, name] if f"{kind}/{owner}/{name}" in self.cards:
                card = self.cards[f"{kind}/{owner}/{name}"]
                info = {"id": f"{owner}/{name}", "cardData": card, "siblings": [], "tags": []}
                return 200, info | {"private": False, "downloads": 0, "likes": 0}
            case "GET", ["api", kind, owner, name, "discussions"]:
                found = self._list(kind, owner, name)
                rows = [self._describe(kind, owner, name, number) for number in range(len(found))]
                return 200, {"discussions": rows, "count": len(rows), "start": 0}
            case "POST", ["api", kind, owner, name, "discussions"]:
                found = self._list(kind, owner, name)
                found.append({"title": body["title"], "comments": [body["description"]]})
                return 200, {"num": len(found)}
            case "GET", ["api", kind, owner, name, "discussions", number]:
                return 200, self._describe(kind, owner, name, int(number) - 1)
            case "POST", ["api", kind, owner, name, "discussions", number, "comment"]:
                found = self._list(kind, owner, name)
                while len(found) < int(number):
                    found.append({"title": "from before", "comments": []})
                found[int(number) - 1]["comments"].append(body["comment"])
                return 200, {"newMessage": _comment(body["comment"])}
        return 404, {"error": f"no {method} {path} here"}

    def _list(self, *parts: str) -> list[dict[str, Any]]:
        return self.discussions.setdefault("/".join(parts), [])

    def _describe(self, kind: str, owner: str, name: str, index: int) -> dict[str, Any]:
        discussion = self._list(kind, owner, name)[index]
        return {
            "num": index + 1,
            "title": discussion["title"],
            "author": {"name": "discussion-bot"},
            "createdAt": NOW,
            "status": "open",
            "isPullRequest": False,
            "repo": {"name": f"{owner}/{name}", "type": kind.removesuffix("s")},
            "events": [_comment(text) for text in discussion["comments"]],
        }

    @staticmethod
    def _completion(body: Any) -> dict[str, Any]:
        words = body["messages"][-1]["content"].upper()
        message = {"role": "assistant", "content": words}
        return {
            "id": "1",
            "created": 0,
            "model": "capitals",
            "system_fingerprint": "",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


def _comment(text: str) -> dict[str, Any]:
    data = {"edited": False, "hidden": False, "latest": {"raw": text}}
    return {"id": "c1", "type": "comment", "createdAt": NOW, "author": {"name": "b"}, "data": data}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run a fake Hub on a port of its own; give its URL to clients as HF_ENDPOINT."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers["content-length"] or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            if token := self.headers["authorization"]:
                hub.tokens.add(token)
            status, content = hub.answer(self.command, urlsplit(self.path).path, body)
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = answer  # noqa: N815 # http.server's names

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
