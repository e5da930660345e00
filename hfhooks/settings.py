"""One Settings object: defaults < pyproject.toml < environment < flags."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)

from hfhooks.errors import UsageError
from hfhooks.events import nearest

__all__ = ["Settings", "load_settings"]


class Settings(BaseSettings):
    """What can be set for a server; each as `--port`, `HFHOOKS_PORT` or `[tool.hfhooks] port`."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        env_prefix="HFHOOKS_",
        extra="forbid",
        frozen=True,
        pyproject_toml_depth=32,
        pyproject_toml_table_header=("tool", "hfhooks"),
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(7860, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    wait: float = Field(5.0, ge=0, allow_inf_nan=False)
    """Seconds a sender is kept for the handler's own answer before it gets 202."""
    grace: float = Field(15.0, ge=0, allow_inf_nan=False)
    """Seconds that running handlers get when the server is told to stop."""
    reload: bool | None = None
    """Load the scripts again when they are saved; None means at a terminal."""
    watch: list[Path] = []
    """Files and folders that count as saved with the scripts."""
    tunnel: Literal["none"] = "none"
    """How the internet reaches this machine."""
    state_dir: Path | None = None
    """Where deliveries are recorded; None means the user's state folder."""
    keep_days: float = Field(30, gt=0, allow_inf_nan=False)
    """Days after which a finished delivery is deleted."""
    keep_deliveries: int = Field(10_000, gt=0)
    """Deliveries beyond which the oldest finished ones are deleted."""
    keep_mib: float = Field(256, gt=0, allow_inf_nan=False)
    """Size of the journal, in MiB, beyond which the oldest finished deliveries are deleted."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, PyprojectTomlConfigSettingsSource(settings_cls)


def load_settings(**flags: Any) -> Settings:
    """Return the settings in force; a flag that is None was not given. Raises `UsageError`."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise UsageError(_explain(error.errors()[0], flags)) from error
    except (OSError, ValueError) as error:  # tomllib's errors are ValueErrors
        raise UsageError(f"pyproject.toml: {error}") from error


def _explain(error: Any, flags: dict[str, Any]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"[tool.hfhooks] has no setting {name!r}, {nearest(name, Settings.model_fields)}"
    variable = f"HFHOOKS_{name.upper()}"
    sources = {
        f"--{name.replace('_', '-')}": flags.get(name) is not None,
        variable: variable in os.environ,
    }
    source = next((source for source, is_set in sources.items() if is_set), "[tool.hfhooks]")
    return f"{name}: {error['msg']} (from {source})"
