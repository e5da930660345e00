import subprocess
import sys

import pytest

HEAVY = ["fastapi", "huggingface_hub", "pyngrok", "gradio", "rich", "uvicorn", "asyncio"]


def modules_after(code: str) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())


def test_importing_hfhooks_brings_next_to_nothing() -> None:
    brought = {name.partition(".")[0] for name in modules_after("import hfhooks")}
    brought -= {name.partition(".")[0] for name in modules_after("")}
    assert brought - sys.stdlib_module_names == {"hfhooks"}
    assert not brought & {*HEAVY, "pydantic"}


def test_decorating_brings_no_pydantic() -> None:
    brought = modules_after("from hfhooks import webhook_endpoint, WebhooksServer")
    assert not brought & {*HEAVY, "pydantic"}


def test_the_payload_brings_pydantic_alone() -> None:
    brought = modules_after("from hfhooks import WebhookPayload")
    assert "pydantic" in brought
    assert not brought & {"fastapi", "huggingface_hub", "pyngrok", "uvicorn"}


@pytest.mark.parametrize("name", ["webhook_endpoint", "WebhookPayload", "WebhooksServer"])
def test_public_names_are_listed_and_load(name: str) -> None:
    import hfhooks

    assert name in hfhooks.__all__ and name in dir(hfhooks)
    assert getattr(hfhooks, name).__name__ == name


def test_other_names_are_attribute_errors() -> None:
    import hfhooks

    with pytest.raises(AttributeError, match="no attribute 'webhook'"):
        _ = hfhooks.webhook  # type: ignore[attr-defined] # wrong on purpose
