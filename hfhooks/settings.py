"""One Settings object: defaults < pyproject.toml < environment < flags.

Checked by pydantic's core alone: all of pydantic takes longer to import than a server to start.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError, SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from hfhooks.errors import UsageError
from hfhooks.model.events import nearest
from hfhooks.model.headers import MOST_BODY

__all__ = ["FIELDS", "Settings", "load_settings", "space_url"]

SPACE_STORAGE = Path("/data")
"""A Space's persistent storage, if it has some."""
PREFIX = "HFHOOKS_"
DEEPEST = 32
"""Folders above the working folder in which a pyproject.toml is looked for."""
SIZE = re.compile(r"\s*([\d_]*\.?\d+)\s*(\w+)?")
UNITS = {"": 1, "b": 1} | {
    f"{letter}{ending}": base**power
    for power, letter in enumerate("kmgtpe", 1)
    for ending, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise PydanticCustomError("path_type", "Input is not a valid path")
    return Path(value)


def _size(value: Any) -> int:
    """Return bytes, which may be given with a unit, as in 1MiB or 10MB."""
    if isinstance(value, str):
        found = SIZE.match(value)
        if not found:
            raise ValueError("could not parse value and unit from byte string")
        unit = found[2] or ""
        if unit.lower() not in UNITS:
            raise ValueError(f"could not interpret byte unit: {unit}")
        value = int(float(found[1]) * UNITS[unit.lower()])
    if type(value) is not int or not 0 < value <= MOST_BODY:
        raise ValueError("a size from 1 byte to 64MiB is needed")
    return value


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    extras = (parts.username, parts.query, parts.fragment)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(extras):
        raise ValueError("a URL such as https://hooks.example.com is needed")
    return url.rstrip("/")


def _domain(domain: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", domain):
        raise ValueError("a name such as my-hooks.ngrok-free.dev is needed")
    return domain


TUNNELS = ("auto", "ngrok", "cloudflared", "ssh", "none")
TEXT = core.str_schema()
SWITCH = core.bool_schema()
PATH = core.no_info_plain_validator_function(_path)
PORT = core.int_schema(ge=0, le=65535)
SECONDS = core.float_schema(ge=0, allow_inf_nan=False)
SOME = core.float_schema(gt=0, allow_inf_nan=False)
SOME_BYTES = core.no_info_plain_validator_function(_size)
DOMAIN = core.no_info_after_validator_function(_domain, TEXT)
BASE_URL = core.no_info_after_validator_function(_base_url, TEXT)


def _setting(schema: core.CoreSchema, default: Any) -> Any:
    """Return a field with a schema; what is None unless it is set may be set to None, too."""
    schema = core.nullable_schema(schema) if default is None else schema
    return field(default=default, metadata={"schema": schema})


@dataclass(frozen=True)
class Settings:
    """What can be set for a server; each as `--port`, `HFHOOKS_PORT` or `[tool.hfhooks] port`."""

    host: str = _setting(TEXT, "127.0.0.1")
    """Address to listen on."""
    port: int = _setting(PORT, 7860)
    """Port to listen on; 0 takes a free one."""
    inspector_port: int = _setting(PORT, 0)
    """Port on which this machine, and no other, reads metrics; 0 takes a free one."""
    max_body: int = _setting(SOME_BYTES, 1024 * 1024)
    """Bytes of the largest body that is accepted; also with a unit, as in 1MiB or 10MB."""
    wait: float = _setting(SECONDS, 5.0)
    """Seconds a sender is kept for the handler's own answer before it gets 202."""
    grace: float = _setting(SECONDS, 15.0)
    """Seconds that running handlers get when the server is told to stop."""
    reload: bool | None = _setting(SWITCH, None)
    """Load the scripts again when they are saved; None means at a terminal."""
    watch: Sequence[Path] = _setting(core.list_schema(PATH), ())
    """Files and folders that count as saved with the scripts."""
    tunnel: str = _setting(core.literal_schema(list(TUNNELS)), "auto")
    """How the internet reaches this machine; `auto` is ngrok where it has a token, else none."""
    domain: str | None = _setting(DOMAIN, None)
    """The domain that ngrok is to use, one of the account's."""
    ssh_host: str | None = _setting(TEXT, None)
    """Where `ssh` forwards from, as ssh wants it."""
    public_url: str | None = _setting(BASE_URL, None)
    """The URL by which a reverse proxy of one's own forwards to here."""
    verbose: bool = _setting(SWITCH, False)
    """Show the whole of a traceback, not the user's frames alone."""
    state_dir: Path | None = _setting(PATH, None)  # noqa: RUF009 # it is a field
    """Where deliveries are recorded; None means the user's state folder."""
    journal: str | None = _setting(TEXT, None)
    """URL of the journal, as sqlite:///path/to/journal.db; None means one of this script's own."""
    keep_days: float = _setting(SOME, 30.0)
    """Days after which a finished delivery is deleted."""
    keep_deliveries: int = _setting(core.int_schema(gt=0), 10_000)
    """Deliveries beyond which the oldest finished ones are deleted."""
    keep_mib: float = _setting(SOME, 256.0)
    """Size of the journal, in MiB, beyond which the oldest finished deliveries are deleted."""
    given: frozenset[str] = frozenset()
    """Names of those that somebody has set."""

    @property
    def names_a_tunnel(self) -> bool:
        """Without this tunnel there is to be no server."""
        return self.tunnel != "auto" or bool(self.domain or self.ssh_host or self.public_url)


FIELDS = {each.name: each for each in fields(Settings) if each.metadata}
"""The settings there are, by name, with their defaults."""
SCHEMA = core.typed_dict_schema(
    {
        name: core.typed_dict_field(each.metadata["schema"], required=False)
        for name, each in FIELDS.items()
    },
    extra_behavior="forbid",
)


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
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        checked: dict[str, Any] = SchemaValidator(SCHEMA).validate_python(
            _of_a_space() | _of_pyproject() | _of_environment() | given
        )
    except ValidationError as error:
        raise UsageError(_explain(error.errors(include_url=False)[0], flags)) from error
    return Settings(**checked, given=frozenset(checked))


def _of_environment() -> dict[str, Any]:
    """Return what variables say. Raises `UsageError` for one that means nothing."""
    if unknown := [name for name in os.environ if _is_unknown(name)]:
        known = [_variable(name) for name in FIELDS]
        raise UsageError(f"there is no setting {unknown[0]}, {nearest(unknown[0], known)}")
    variables = {name.lower(): value for name, value in os.environ.items() if value}
    named = {name: _variable(name).lower() for name in FIELDS}
    said: dict[str, Any] = {
        name: variables[variable] for name, variable in named.items() if variable in variables
    }
    if "watch" in said:
        try:
            said["watch"] = json.loads(said["watch"])
        except ValueError as error:
            text = f'{_variable("watch")}: a JSON list is needed, such as ["labels.json"].'
            raise UsageError(text) from error
    return said


def _of_pyproject() -> dict[str, Any]:
    """Return what the nearest pyproject.toml says. Raises `UsageError`."""
    here = Path.cwd()
    folders = [here, *list(here.parents)[:DEEPEST]]
    paths = (folder / "pyproject.toml" for folder in folders)
    if (path := next((path for path in paths if path.is_file()), None)) is None:
        return {}
    import tomllib  # which most folders do without

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # tomllib's errors are ValueErrors
        raise UsageError(f"pyproject.toml: {error}") from error
    for name in ("tool", "hfhooks"):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise UsageError("pyproject.toml: [tool.hfhooks] is no table.")
    return table


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _is_unknown(variable: str) -> bool:
    return variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() not in FIELDS


def _explain(error: Any, flags: dict[str, Any]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"[tool.hfhooks] has no setting {name!r}, {nearest(name, FIELDS)}"
    variable = _variable(name)
    sources = {
        f"--{name.replace('_', '-')}": flags.get(name) is not None,
        variable: variable in os.environ,
    }
    if name == "port" and "SPACE_ID" in os.environ:
        sources["PORT"] = "PORT" in os.environ
    source = next((source for source, is_set in sources.items() if is_set), "[tool.hfhooks]")
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (from {source})"
