import functools
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hfhooks import WebhooksServer, webhook_endpoint
from hfhooks.errors import EndpointError, HfhooksError, SecretError
from hfhooks.model.endpoint import Endpoint
from hfhooks.model.events import Filter
from hfhooks.script.registry import Registry, collecting


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with collecting(Registry()) as registry:
        yield registry


def names(registry: Registry) -> list[str]:
    return list(registry.registrations)


def retrain() -> str:
    return "trained"


def test_bare_decorator_uses_the_functions_name(registry: Registry) -> None:
    assert webhook_endpoint(retrain) is retrain
    assert names(registry) == ["retrain"]
    assert registry.registrations["retrain"].endpoint.path == "/webhooks/retrain"


def test_empty_call_uses_the_functions_name(registry: Registry) -> None:
    assert webhook_endpoint()(retrain) is retrain
    assert names(registry) == ["retrain"]


@pytest.mark.parametrize("path", ["/webhooks/x", "webhooks/x", "/x", "x", "x/", "/x/"])
def test_a_path_has_many_spellings_and_one_meaning(registry: Registry, path: str) -> None:
    webhook_endpoint(path)(retrain)
    assert names(registry) == ["x"]


def test_path_by_keyword_and_filters_on_a_call(registry: Registry) -> None:
    webhook_endpoint(path="/a/b.c", on="repo", repo=["me/*"], ref="refs/heads/main")(retrain)
    webhook_endpoint(retrain, on="discussion:create")
    assert registry.registrations["a/b.c"].endpoint.filter == Filter(
        ("repo",), ("me/*",), ("refs/heads/main",)
    )
    assert registry.registrations["retrain"].endpoint.filter == Filter(("discussion:create",))


def test_stacked_decorators_serve_one_function_at_several_paths(registry: Registry) -> None:
    @webhook_endpoint("/one")
    @webhook_endpoint("/two")
    def handler() -> int:
        return 1

    assert names(registry) == ["two", "one"]
    assert handler() == 1


def test_a_name_that_starts_like_the_prefix_stays_whole(registry: Registry) -> None:
    webhook_endpoint("webhooks-test")(retrain)
    assert names(registry) == ["webhooks-test"]


class Bot:
    def __call__(self, payload: Any) -> None: ...

    def answer(self, payload: Any) -> None: ...


def test_objects_methods_and_partials_have_names_too(registry: Registry) -> None:
    webhook_endpoint(Bot())
    webhook_endpoint(Bot().answer)
    webhook_endpoint(functools.partial(retrain))
    assert names(registry) == ["Bot", "answer", "retrain"]
    places = [registration.place for registration in registry.registrations.values()]
    assert all(Path(place.rpartition(":")[0]).name == "test_decorator.py" for place in places)


def test_a_path_taken_twice_names_both_places(registry: Registry) -> None:
    webhook_endpoint("/same")(retrain)
    with pytest.raises(EndpointError, match=r"/webhooks/same") as caught:
        webhook_endpoint("same/")(Bot().answer)
    first, second = str(caught.value).rpartition(": ")[2].split(" and ")
    assert first.endswith(f"test_decorator.py:{retrain.__code__.co_firstlineno}")
    assert second.endswith(f"test_decorator.py:{Bot.answer.__code__.co_firstlineno}")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: webhook_endpoint(onn="repo"), "no argument 'onn', did you mean 'on'?"),  # type: ignore[call-overload] # wrong on purpose
        (lambda: webhook_endpoint(on="repo.contnet"), "did you mean 'repo.content'?"),
        (lambda: webhook_endpoint(on=7), "on=7: a filter is a text"),  # type: ignore[call-overload] # wrong on purpose
        (lambda: webhook_endpoint(3), "a text such as '/retrain', not 3"),  # type: ignore[call-overload] # wrong on purpose
        (lambda: webhook_endpoint("/")(retrain), "'/' is no path"),
        (lambda: webhook_endpoint("/a//b")(retrain), "is no path"),
        (lambda: webhook_endpoint("a" * 1025)(retrain), "has at most 1024 characters"),
        (lambda: webhook_endpoint("/a b")(retrain), "is no path"),
        (lambda: webhook_endpoint("/{name}")(retrain), "is no path"),
        (lambda: webhook_endpoint(lambda payload: None), "'<lambda>' is no path"),
        (lambda: webhook_endpoint("/x")("not a function"), "needs a function"),  # type: ignore[type-var] # wrong on purpose
    ],
)
def test_a_wrong_argument_fails_at_once(wrong: Any, words: str) -> None:
    with pytest.raises(EndpointError) as caught:
        wrong()
    assert words in str(caught.value)


def test_retries_and_concurrency_are_the_endpoints(registry: Registry) -> None:
    @webhook_endpoint(retries=0, max_concurrency=1)
    def train() -> None: ...

    @WebhooksServer().add_webhook("/b", retries=7)
    def build() -> None: ...

    endpoints = [row.endpoint for row in registry.registrations.values()]
    assert [(e.retries, e.max_concurrency) for e in endpoints] == [(0, 1), (7, 16)]
    assert Endpoint("x").retries == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retries": -1}, "retries= takes a number from 0 on, not -1"),
        ({"retries": "4"}, "retries= takes a number from 0 on, not '4'"),
        ({"retries": True}, "retries= takes a number from 0 on, not True"),
        ({"max_concurrency": 0}, "max_concurrency= takes a number from 1 on, not 0"),
        ({"timeout": 0}, "timeout= takes seconds, such as 3600, not 0"),
        ({"timeout": True}, "timeout= takes seconds, such as 3600, not True"),
        ({"timeout": "30"}, "timeout= takes seconds, such as 3600, not '30'"),
        ({"timeout": float("nan")}, "timeout= takes seconds, such as 3600, not nan"),
        ({"retry": 1}, "an endpoint has no argument 'retry', did you mean 'retries'?"),
    ],
)
def test_a_wrong_number_fails_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(EndpointError, match=re.escape(words)):
        webhook_endpoint(**options)


def test_servers_share_the_table_and_keep_their_secrets(registry: Registry) -> None:
    app = WebhooksServer(webhook_secret="s3cret")

    @app.add_webhook("/say_hello")
    def hello() -> str:
        return "hello"

    @app.add_webhook
    def goodbye() -> str:
        return "goodbye"

    webhook_endpoint(retrain)
    secrets = {name: row.endpoint.secrets for name, row in registry.registrations.items()}
    assert secrets == {"say_hello": ("s3cret",), "goodbye": ("s3cret",), "retrain": ()}
    assert hello() == "hello" and goodbye() == "goodbye"


def test_add_webhook_takes_filters_and_refuses_what_is_wrong(registry: Registry) -> None:
    app = WebhooksServer()
    app.add_webhook(on="repo")(retrain)
    assert registry.registrations["retrain"].endpoint.filter.on == ("repo",)
    with pytest.raises(EndpointError, match="did you mean 'repo'"):
        app.add_webhook(rep="me/x")  # type: ignore[call-overload] # wrong on purpose


def test_a_servers_secret_is_checked_too() -> None:
    assert WebhooksServer().webhook_secret is None
    with pytest.raises(SecretError, match="webhook_secret is empty"):
        WebhooksServer(webhook_secret="")


def test_run_and_launch_return_at_once_in_a_served_script(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    with collecting(Registry(is_served=True)):
        webhook_endpoint(retrain)
        assert retrain.run() is retrain.launch(share=False) is None  # type: ignore[attr-defined] # added
        WebhooksServer().run()
        WebhooksServer().launch(prevent_thread_lock=True)
    assert "returns at once" in caplog.text
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_run_returns_at_once_in_a_module_that_is_imported(
    script: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script("from hfhooks import WebhooksServer\nWebhooksServer().run()", "imported_app.py")
    monkeypatch.syspath_prepend(path.parent)
    import_module("imported_app")


def test_run_elsewhere_says_how_to_serve() -> None:
    with pytest.raises(HfhooksError) as caught:
        WebhooksServer().run()
    assert "hfhooks serve" in str(caught.value.help)


def test_an_endpoint_survives_the_way_to_the_gateway() -> None:
    endpoint = Endpoint("a/b", Filter(("repo",), ("me/*",), ()), ("new", "old"), takes_json=False)
    assert Endpoint.from_json(json.loads(json.dumps(endpoint.as_json()))) == endpoint


def test_a_secret_is_not_shown_by_accident() -> None:
    assert "s3cret" not in repr(Endpoint("a", secrets=("s3cret",)))
    assert "s3cret" not in repr(WebhooksServer(webhook_secret="s3cret"))
