"""What `launch` is given for a page; with a real Gradio: tests/test_gradio.py."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hfhooks import WebhooksServer, webhook_endpoint
from hfhooks.errors import EndpointError
from hfhooks.script.page import PROTECTING, check_is_reached
from hfhooks.script.registry import Registry, collecting
from hfhooks.worker.app import build, other_routes

Script = Callable[..., Path]


async def ui(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def handler() -> None:
    raise NotImplementedError


@pytest.mark.parametrize("name", PROTECTING)
@pytest.mark.parametrize("is_served", [True, False])
@pytest.mark.parametrize("page", [None, ui])
def test_launch_refuses_what_would_protect_a_page_and_does_not(
    name: str, is_served: bool, page: Any
) -> None:
    with collecting(Registry(is_served=is_served)):
        app = WebhooksServer(ui=page)
        webhook_endpoint(handler)
        for launch in (app.launch, app.run, handler.launch):  # type: ignore[attr-defined] # added
            with pytest.raises(EndpointError, match=rf"{name}=\.\.\.\) protects nothing"):
                launch(share=True, **{name: "x"})


def test_launch_knows_gradios_order_and_what_protects_nothing() -> None:
    with collecting(Registry(is_served=True)):
        app = WebhooksServer()
        with pytest.raises(EndpointError, match="auth"):
            app.launch(None, False, False, False, 40, ("me", "password"))
        with pytest.raises(EndpointError, match="by its name"):
            app.launch(*[None] * 12)
        app.launch(None, False, False, False, 40, None, auth=None, allowed_paths=None)


def test_what_means_nothing_here_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with collecting(Registry(is_served=True)):
        WebhooksServer().launch(True, share=True, debug=False, theme="soft", auth=None)
    [record] = [each for each in caplog.records if each.levelname == "WARNING"]
    said = "launch(inline=..., share=..., theme=...): this means nothing here, and is ignored."
    assert record.getMessage() == said


GUARDED = """
if __name__ == "__main__":
    app.launch({argument})
"""


@pytest.mark.parametrize("name", PROTECTING)
def test_a_page_that_only_a_call_that_is_not_made_protects_is_not_served(
    script: Script, name: str
) -> None:
    path = script(GUARDED.format(argument=f"share=True, {name}=secret"))
    with pytest.raises(EndpointError, match=rf"app\.py:3: launch\({name}=\.\.\.\) is not called"):
        check_is_reached([str(path)])


@pytest.mark.parametrize(
    "argument",
    [
        "None, None, None, None, 40, secret",
        '**{"auth": secret}',
        "**dict(auth=secret)",
        '*secrets, **{"auth": secret}',
    ],
)
def test_what_protects_is_found_however_it_is_given(script: Script, argument: str) -> None:
    path = script(GUARDED.format(argument=argument))
    with pytest.raises(EndpointError, match=r"app\.py:3: launch\(auth=\.\.\.\) is not called"):
        check_is_reached([str(path)])


@pytest.mark.parametrize("argument", ["", "share=True", "auth=None"])
def test_a_call_that_protects_nothing_need_not_be_made(script: Script, argument: str) -> None:
    check_is_reached([str(script(GUARDED.format(argument=argument)))])


@pytest.mark.parametrize(
    "call",
    [
        "app.launch(**options)",
        "app.launch(*options)",
        "go = app.launch",
        'getattr(app, "launch")(share=True)',
        "partial(app.launch, share=True)",
    ],
)
def test_a_call_of_which_cannot_be_told_what_it_protects_has_to_be_made(
    script: Script, call: str
) -> None:
    with pytest.raises(EndpointError, match=r"app\.py:2: launch\(\.\.\.\) is not called"):
        check_is_reached([str(script(f"def main():\n    {call}\n"))])


@pytest.mark.parametrize(("receiver", "is_meant"), [("app", True), ("subprocess", False)])
def test_run_with_options_has_to_be_called_where_these_may_protect(
    script: Script, receiver: str, is_meant: bool
) -> None:
    options = str(script('OPTIONS = {"auth": ("me", "password")}', "options.py"))
    call = f"def main():\n    {receiver}.run(**OPTIONS)\n"
    files = [options, str(script(f"import subprocess\n{call}"))]
    with pytest.raises(EndpointError) if is_meant else nullcontext():
        check_is_reached(files)


def test_what_is_no_script_protects_nothing(script: Script) -> None:
    check_is_reached(["<cell 1>", str(script("not Python ("))])


def test_a_page_is_looked_at_before_it_is_shown(script: Script) -> None:
    with collecting(Registry(is_served=True)) as registry:
        app = WebhooksServer(ui=ui)
        app.file = str(script(GUARDED.format(argument="auth=('me', 'password')")))
        with pytest.raises(EndpointError, match="is not called"):
            build(registry)


class Cells:
    def update(self) -> None: ...
    def stop(self) -> None: ...


def test_a_page_of_a_notebook_is_not_shown_before_launch_says_who_may_see_it() -> None:
    with collecting(Registry()) as registry:
        registry.live = Cells()
        app = WebhooksServer(ui=ui)
        app.add_webhook(handler)
        assert other_routes(build(registry)[0]) == []
        app.page_options = {}
        assert len(other_routes(build(registry)[0])) == 1


def test_a_page_that_is_shown_is_not_given_other_arguments() -> None:
    with collecting(Registry(is_served=True)) as registry:
        app = WebhooksServer(ui=ui)
        app.page_options = {"auth": ("me", "password")}
        build(registry)
        build(registry)
        app.launch()
        build(registry)
        app.page_options = {"auth": ("me", "password"), "theme": "soft"}
        with pytest.raises(EndpointError, match="other arguments"):
            build(registry)
        assert len(other_routes(app.fastapi_app)) == 1


def test_a_page_that_is_shown_is_closed_where_it_is_to_be_protected_afterwards() -> None:
    with collecting(Registry(is_served=True)) as registry:
        app = WebhooksServer(ui=ui)
        app.page_options = {}
        build(registry)
        app.page_options = {"auth": ("me", "password")}
        with pytest.raises(EndpointError, match="other arguments"):
            build(registry)
        assert other_routes(app.fastapi_app) == []
