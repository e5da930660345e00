"""One Settings object: defaults < pyproject.toml < environment < flags."""

import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from hfhooks.errors import UsageError
from hfhooks.model.events import nearest
from hfhooks.model.headers import MOST_BODY

__all__ = ["Settings", "load_settings", "space_url"]

SPACE_STORAGE = Path("/data")
"""A Space's persistent storage, if it has some."""


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
    inspector_port: int = Field(0, ge=0, le=65535)
    """Port on which this machine, and no other, reads metrics; 0 takes a free one."""
    max_body: ByteSize = ByteSize(1024 * 1024)
    """Bytes of the largest body that is accepted; also with a unit, as in 1MiB or 10MB."""
    wait: float = Field(5.0, ge=0, allow_inf_nan=False)
    """Seconds a sender is kept for the handler's own answer before it gets 202."""
    grace: float = Field(15.0, ge=0, allow_inf_nan=False)
    """Seconds that running handlers get when the server is told to stop."""
    reload: bool | None = None
    """Load the scripts again when they are saved; None means at a terminal."""
    watch: list[Path] = []
    """Files and folders that count as saved with the scripts."""
    tunnel: Literal["auto", "ngrok", "cloudflared", "ssh", "none"] = "auto"
    """How the internet reaches this machine; `auto` is ngrok where it has a token, else none."""
    domain: str | None = None
    """The domain that ngrok is to use, one of the account's."""
    ssh_host: str | None = None
    """Where `ssh` forwards from, as ssh wants it."""
    public_url: str | None = None
    """The URL by which a reverse proxy of one's own forwards to here."""
    verbose: bool = False
    """Show the whole of a traceback, not the user's frames alone."""
    state_dir: Path | None = None
    """Where deliveries are recorded; None means the user's state folder."""
    journal: str | None = None
    """URL of the journal, as sqlite:///path/to/journal.db; None means one of this script's own."""
    keep_days: float = Field(30, gt=0, allow_inf_nan=False)
    """Days after which a finished delivery is deleted."""
    keep_deliveries: int = Field(10_000, gt=0)
    """Deliveries beyond which the oldest finished ones are deleted."""
    keep_mib: float = Field(256, gt=0, allow_inf_nan=False)
    """Size of the journal, in MiB, beyond which the oldest finished deliveries are deleted."""

    @property
    def names_a_tunnel(self) -> bool:
        """Without this tunnel there is to be no server."""
        return self.tunnel != "auto" or bool(self.domain or self.ssh_host or self.public_url)

    @field_validator("max_body")
    @classmethod
    def _is_some_body(cls, size: ByteSize) -> ByteSize:
        if not 0 < size <= MOST_BODY:
            raise ValueError("a size from 1 byte to 64MiB is needed")
        return size

    @field_validator("public_url")
    @classmethod
    def _is_base_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        extras = (parts.username, parts.query, parts.fragment)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(extras):
            raise ValueError("a URL such as https://hooks.example.com is needed")
        return url.rstrip("/")

    @field_validator("domain")
    @classmethod
    def _is_domain(cls, domain: str | None) -> str | None:
        if domain is not None and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", domain):
            raise ValueError("a name such as my-hooks.ngrok-free.dev is needed")
        return domain

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        pyproject = PyprojectTomlConfigSettingsSource(settings_cls)
        in_a_space = InitSettingsSource(settings_cls, _of_a_space())
        return init_settings, env_settings, pyproject, in_a_space


def space_url() -> str | None:
    """Return the public URL of the Space this runs in, None elsewhere.

    https://huggingface.co/docs/hub/spaces-overview#helper-environment-variables
    """
    host = os.environ.get("SPACE_HOST") if "SPACE_ID" in os.environ else None
    return f"https://{host}" if host else None


def _of_a_space() -> dict[str, Any]:
    """Return the defaults of a Space: its proxy is the tunnel, and `/data` outlives a restart."""
    if "SPACE_ID" not in os.environ:
        return {}
    port = os.environ.get("PORT") or 7860
    settings: dict[str, Any] = {"port": port, "tunnel": "none", "reload": False}
    settings["host"] = "0.0.0.0"  # noqa: S104 # the Space's proxy is on another machine
    if os.access(SPACE_STORAGE, os.W_OK):
        settings["state_dir"] = SPACE_STORAGE / "hfhooks"
    return settings


def load_settings(**flags: Any) -> Settings:
    """Return the settings in force; a flag that is None was not given. Raises `UsageError`."""
    if unknown := [name for name in os.environ if _is_unknown(name)]:
        known = [_variable(name) for name in Settings.model_fields]
        raise UsageError(f"there is no setting {unknown[0]}, {nearest(unknown[0], known)}")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise UsageError(_explain(error.errors()[0], flags)) from error
    except SettingsError as error:  # of a variable that holds several values
        name = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "")
        text = f'{_variable(name)}: a JSON list is needed, such as ["labels.json"].'
        raise UsageError(text) from error
    except (AttributeError, TypeError) as error:
        raise UsageError("pyproject.toml: [tool.hfhooks] is no table.") from error
    except (OSError, ValueError) as error:  # tomllib's errors are ValueErrors
        raise UsageError(f"pyproject.toml: {error}") from error


def _variable(name: str) -> str:
    return f"HFHOOKS_{name.upper()}"


def _is_unknown(variable: str) -> bool:
    name = variable.removeprefix("HFHOOKS_").lower()
    return variable.startswith("HFHOOKS_") and name not in Settings.model_fields


def _explain(error: Any, flags: dict[str, Any]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"[tool.hfhooks] has no setting {name!r}, {nearest(name, Settings.model_fields)}"
    variable = _variable(name)
    sources = {
        f"--{name.replace('_', '-')}": flags.get(name) is not None,
        variable: variable in os.environ,
    }
    if name == "port" and "SPACE_ID" in os.environ:
        sources["PORT"] = "PORT" in os.environ
    source = next((source for source, is_set in sources.items() if is_set), "[tool.hfhooks]")
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (from {source})"
