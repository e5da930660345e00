"""One Settings object: defaults < pyproject.toml < environment < flags."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from hfhooks.errors import UsageError
from hfhooks.model import values
from hfhooks.model.events import nearest

__all__ = ["FIELDS", "Settings", "load_settings", "space_url"]

SPACE_STORAGE = Path("/data")
"""A Space's persistent storage, if it has some."""
PREFIX = "hfhooks_"
DEEPEST = 32
"""Folders above the working folder in which a pyproject.toml is looked for."""
TUNNELS = ("auto", "ngrok", "cloudflared", "ssh", "none")
PORT = values.whole("a port", most=65535)
SECONDS = values.number("a number of seconds")


def _setting(read: values.Read[Any], default: Any) -> Any:
    """Return a field, and how its values are read."""
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True)
class Settings:
    """What can be set for a server; each as `--port`, `HFHOOKS_PORT` or `[tool.hfhooks] port`."""

    host: str = _setting(values.text, "127.0.0.1")
    """Address to listen on."""
    port: int = _setting(PORT, 7860)
    """Port to listen on; 0 takes a free one."""
    inspector_port: int = _setting(PORT, 0)
    """Port on which this machine, and no other, reads metrics; 0 takes a free one."""
    max_body: int = _setting(values.size, 4 * 1024 * 1024)
    """Bytes of the largest body that is accepted; also with a unit, as in 1MiB or 10MB."""
    wait: float = _setting(SECONDS, 5.0)
    """Seconds a sender is kept for the handler's own answer before it gets 202."""
    grace: float = _setting(SECONDS, 15.0)
    """Seconds that running handlers get when the server is told to stop."""
    reload: bool | None = _setting(values.switch, None)
    """Load the scripts again when they are saved; None means at a terminal."""
    watch: Sequence[Path] = _setting(values.list_of(values.path), ())
    """Files and folders that count as saved with the scripts."""
    tunnel: str = _setting(values.one_of(*TUNNELS), "auto")
    """How the internet reaches this machine; `auto` is ngrok where it has a token, else none."""
    domain: str | None = _setting(values.domain, None)
    """The domain that ngrok is to use, one of the account's."""
    ssh_host: str | None = _setting(values.text, None)
    """Where `ssh` forwards from, as ssh wants it."""
    public_url: str | None = _setting(values.public_url, None)
    """The URL by which a reverse proxy of one's own forwards to here."""
    verbose: bool = _setting(values.switch, False)
    """Show the whole of a traceback, not the user's frames alone."""
    state_dir: Path | None = _setting(values.path, None)  # noqa: RUF009 # it is a field
    """Where deliveries are recorded; None means the user's state folder."""
    journal: str | None = _setting(values.text, None)
    """URL of the journal, as sqlite:///path/to/journal.db; None means one of this script's own."""
    keep_days: float = _setting(values.number("a number of days", above=0), 30.0)
    """Days after which a finished delivery is deleted."""
    keep_deliveries: int = _setting(values.whole("a number of deliveries", least=1), 10_000)
    """Deliveries beyond which the oldest finished ones are deleted."""
    keep_mib: float = _setting(values.number("a size in MiB", above=0), 256.0)
    """Size of the journal, in MiB, beyond which the oldest finished deliveries are deleted."""
    given: frozenset[str] = frozenset()
    """Names of those that somebody has set."""

    @property
    def names_a_tunnel(self) -> bool:
        """Without this tunnel there is to be no server."""
        return self.tunnel != "auto" or bool(self.domain or self.ssh_host or self.public_url)


FIELDS = {each.name: each for each in fields(Settings) if each.metadata}
"""The settings there are, by name, with their defaults."""


def space_url() -> str | None:
    """Return the public URL of the Space this runs in, None elsewhere.

    https://huggingface.co/docs/hub/spaces-overview#helper-environment-variables
    """
    host = os.environ.get("SPACE_HOST") if "SPACE_ID" in os.environ else None
    return f"https://{host}" if host else None


def load_settings(**flags: Any) -> Settings:
    """Return the settings in force; a flag that is None was not given. Raises `UsageError`."""
    said = _of_a_space() | _of_pyproject() | _of_environment() | _of_flags(flags)
    checked = {}
    for name, one in said.items():
        try:
            checked[name] = FIELDS[name].metadata["read"](one.value)
        except ValueError as error:
            raise UsageError(f"{one}: {error}.") from error
    return Settings(**checked, given=frozenset(checked))


class Said(NamedTuple):
    """What a source says of a setting."""

    value: Any
    wording: str
    """How that was said, `{}` for the value."""

    def __str__(self) -> str:
        # A URL may have a password in it.
        value = "…" if "@" in str(self.value) else self.value
        return self.wording.format(value)


def _of_a_space() -> dict[str, Said]:
    """Return the defaults of a Space: its proxy is the tunnel, and `/data` outlives a restart."""
    if "SPACE_ID" not in os.environ:
        return {}
    defaults: dict[str, Any] = {"tunnel": "none", "reload": False}
    defaults["port"] = os.environ.get("PORT") or 7860
    defaults["host"] = "0.0.0.0"  # noqa: S104 # the Space's proxy is on another machine
    if os.access(SPACE_STORAGE, os.W_OK):
        defaults["state_dir"] = SPACE_STORAGE / "hfhooks"
    return {name: Said(value, f"{name.upper()}={{}}") for name, value in defaults.items()}


def _of_pyproject() -> dict[str, Said]:
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
    for key in ("tool", "hfhooks"):
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise UsageError("pyproject.toml: [tool.hfhooks] is no table.")
    if unknown := [name for name in table if name not in FIELDS]:
        near = nearest(unknown[0], FIELDS)
        raise UsageError(f"[tool.hfhooks] has no setting {unknown[0]!r}, {near}")
    return {name: Said(value, f"[tool.hfhooks] {name} = {{!r}}") for name, value in table.items()}


def _of_environment() -> dict[str, Said]:
    """Return what variables say, in whatever case. Raises `UsageError` for one that means nothing.

    An empty one is as good as none.
    """
    said = {}
    for variable, value in os.environ.items():
        name = variable.lower().removeprefix(PREFIX)
        if name != variable.lower() and name in FIELDS and value:
            said[name] = Said(value, f"{variable}={{}}")
        elif variable.startswith(PREFIX.upper()) and name not in FIELDS:
            known = [PREFIX.upper() + name.upper() for name in FIELDS]
            raise UsageError(f"there is no setting {variable}, {nearest(variable, known)}")
    return said


def _of_flags(flags: Mapping[str, Any]) -> dict[str, Said]:
    given = {name: value for name, value in flags.items() if value is not None}
    return {name: Said(value, f"--{name.replace('_', '-')} {{}}") for name, value in given.items()}
