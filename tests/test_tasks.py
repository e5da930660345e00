import asyncio
import sys

import pytest

from hfhooks.tasks import run


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_it_runs_on_uvloop_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, has_uvloop: bool
) -> None:
    if has_uvloop:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(main()).startswith("uvloop" if has_uvloop else "asyncio")
