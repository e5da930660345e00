"""One Settings object: defaults < pyproject.toml < environment < flags."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from hfhooks.errors import UsageError
from hfhooks.model import values
from hfhooks.model.events import nearest
from hfhooks.model.headers import MAX_BODY
from hfhooks.model.running_server import is_loopback
from hfhooks.mounts import file_system, is_elsewhere
from hfhooks.settings.pyproject import Pyproject, nearest_pyproject

__all__ = ["FIELDS", "Settings", "load_settings", "space_url"]

SPACE_STORAGE = Path("/data")
"""A Space's persistent storage, if it has some."""
PREFIX = "hfhooks_"
OPENING = ("host", "tunnel", "ssh_host", "public_url", "state_dir", "journal")
"""Settings that can open the machine to others, or what is recorded."""
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
    max_body: int = _setting(values.size, MAX_BODY)
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
    ignored: str | None = None
    """Which pyproject.toml is ignored, why, and how to say the same."""
    opened: str | None = None
    """Which pyproject.toml opens the machine to others, and by what."""

    @property
    def notes(self) -> list[str]:
        """What a person should know when this is served."""
        return [note for note in (self.ignored, self.opened, self._blocking) if note]

    @property
    def _blocking(self) -> str | None:
        if self.max_body <= MAX_BODY:
            return None
        return (
            f"bodies above {MAX_BODY // 1024**2}MiB are accepted (max_body): while one of them is "
            "read, which may take seconds, every other sender waits."
        )

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


def load_settings(code: Path | None = None, folder: Path | None = None, **flags: Any) -> Settings:
    """Return the settings in force; a flag that is None was not given. Raises `UsageError`.

    `code` is the file that is served, if there is one. A pyproject.toml is looked for from
    `folder`, without it from the folder of the code, without that from the working folder.
    """
    code = code and code.resolve()
    pyproject = nearest_pyproject(folder or (code.parent if code else Path.cwd()), code)
    by_file = _of_pyproject(pyproject)
    said = _of_a_space() | by_file | _of_environment() | _of_flags(flags)
    checked = {}
    for name, one in said.items():
        try:
            checked[name] = _from(one.folder, FIELDS[name].metadata["read"](one.value))
        except ValueError as error:
            raise UsageError(f"{one}: {error}.") from error
    in_force = {name: checked[name] for name, one in by_file.items() if said[name] is one}
    return Settings(
        **checked,
        given=frozenset(checked),
        ignored=_ignored(pyproject, is_command_line=bool(flags)),
        opened=_opened(pyproject, in_force),
    )


class Said(NamedTuple):
    """What a source says of a setting."""

    value: Any
    wording: str
    """How that was said, `{}` for the value."""
    folder: Path | None = None
    """Where its relative paths begin; None means the working folder."""

    def __str__(self) -> str:
        # A URL may have a password in it.
        value = "…" if "@" in str(self.value) else self.value
        return self.wording.format(value)


def _from(folder: Path | None, value: Any) -> Any:
    """Return a value whose paths are absolute, if it has some."""
    if isinstance(value, list):
        return [_from(folder, each) for each in value]
    if isinstance(value, Path):
        return folder / value if folder else value.absolute()
    return value


def _of_a_space() -> dict[str, Said]:
    """Return the defaults of a Space: its proxy is the tunnel, and `/data` outlives a restart."""
    if "SPACE_ID" not in os.environ:
        return {}
    defaults: dict[str, Any] = {"tunnel": "none", "reload": False}
    defaults["port"] = os.environ.get("PORT") or 7860
    defaults["host"] = "0.0.0.0"  # noqa: S104 # the Space's proxy is on another machine
    if os.access(SPACE_STORAGE, os.W_OK) and not is_elsewhere(file_system(SPACE_STORAGE)):
        defaults["state_dir"] = SPACE_STORAGE / "hfhooks"
    return {name: Said(value, f"{name.upper()}={{}}") for name, value in defaults.items()}


def _of_pyproject(pyproject: Pyproject | None) -> dict[str, Said]:
    """Return what a pyproject.toml says that is obeyed. Raises `UsageError`."""
    if pyproject is None or pyproject.ignored:
        return {}
    table = pyproject.table
    if unknown := [name for name in table if name not in FIELDS]:
        near = nearest(unknown[0], FIELDS)
        raise UsageError(f"[tool.hfhooks] has no setting {unknown[0]!r}, {near}")
    folder = pyproject.path.parent
    return {
        name: Said(value, f"[tool.hfhooks] {name} = {{!r}}", folder)
        for name, value in table.items()
    }


def _ignored(pyproject: Pyproject | None, is_command_line: bool) -> str | None:
    """Say that a pyproject.toml is ignored, and what a person who wants the same has to say."""
    if pyproject is None or not pyproject.ignored:
        return None
    words = _flags_for if is_command_line else _variables_for
    folder = pyproject.path.parent
    same = [
        word
        for name, value in pyproject.table.items()
        for word in words(name, _with_paths_from(folder, name, value))
    ]
    text = f"{pyproject.path} is ignored: {pyproject.ignored}."
    return f"{text} To say the same: {' '.join(same)}" if same else text


def _with_paths_from(folder: Path, name: str, value: Any) -> Any:
    """Return a value so that it means the same elsewhere."""
    if name == "state_dir" and isinstance(value, str) and value and not value.startswith("~"):
        return str(folder / value)
    if name == "watch" and isinstance(value, list):
        return [_with_paths_from(folder, "state_dir", each) for each in value]
    return value


def _flags_for(name: str, value: Any) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    for each in value if isinstance(value, list) else [value]:
        if not _is_said(name, value):
            continue
        if isinstance(each, bool):
            yield flag if each else f"--no-{flag.removeprefix('--')}"
        else:
            yield f"{flag} {shlex.quote(str(each))}"


def _variables_for(name: str, value: Any) -> Iterator[str]:
    if _is_said(name, value):
        text = value if isinstance(value, str) else json.dumps(value)
        yield f"{PREFIX.upper()}{name.upper()}={shlex.quote(text)}"


def _is_said(name: str, value: Any) -> bool:
    """Tell whether this is a setting, and its value one that may be repeated."""
    with suppress(ValueError):
        if name in FIELDS and str(value).isprintable() and not _may_hold_password(value):
            FIELDS[name].metadata["read"](value)
            return True
    return False


def _may_hold_password(value: Any) -> bool:
    return "@" in str(value) and "://" in str(value)


def _opened(pyproject: Pyproject | None, in_force: Mapping[str, Any]) -> str | None:
    """Say what a pyproject.toml opens to others."""
    opening = [
        f"{name} = {'…' if _may_hold_password(value) else str(value)!r}"
        for name, value in in_force.items()
        if name in OPENING and not _is_for_this_machine(name, value)
    ]
    return f"{pyproject.path} says {', '.join(opening)}." if pyproject and opening else None


def _is_for_this_machine(name: str, value: Any) -> bool:
    if name == "tunnel":
        return value in ("auto", "none")
    return name == "host" and is_loopback(value)


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
