"""What helps where a script imports a module that is not found."""

import re
import sys
from collections.abc import Iterator
from linecache import getline
from pathlib import Path, PurePath
from shlex import quote

from hfhooks.script.target import Target

__all__ = ["how_to_get"]

# Packages whose name on PyPI is not the name they are imported by.
DISTRIBUTIONS = {
    "Crypto": "pycryptodome",
    "Levenshtein": "python-Levenshtein",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "discord": "discord.py",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "GitPython",
    "github": "PyGithub",
    "gitlab": "python-gitlab",
    "google.genai": "google-genai",
    "google.generativeai": "google-generativeai",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "googleapiclient": "google-api-python-client",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "magic": "python-magic",
    "nacl": "pynacl",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "ruamel": "ruamel.yaml",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "telegram": "python-telegram-bot",
    "umap": "umap-learn",
    "websocket": "websocket-client",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
NAMESPACES = {"google.cloud.": 1, "azure.": 2}
"""What is imported of these is a package each, by so many more words."""
IMPORT = re.compile(r"\s*(?:from\s+([\w.]+)\s+import\s+(\w+)|import\s+([\w.]+))")


def how_to_get(module: str, target: Target, file: str | None, line: int | None) -> str:
    """Return what to do about a module that the import in that line does not find."""
    from difflib import get_close_matches  # which most loads do without

    top, _, rest = module.partition(".")
    if there := next(_places_of(top, target), None):
        if rest:
            return f"{there} has no module {rest!r}."
        folder = quote(str(there.parent))
        return f"It is in {folder}, where nothing looks for it. Say so: PYTHONPATH={folder}"
    siblings = [path.stem for folder in target.folders for path in Path(folder).glob("*.py")]
    if close := get_close_matches(top, siblings, n=1):
        return f"Did you mean {close[0]!r}?"
    wanted = _imported(getline(file, line), module) if file and line else module
    return f"Install it where hfhooks runs: {_install(_distribution(wanted))}"


def _places_of(top: str, target: Target) -> Iterator[Path]:
    """Yield where a module of the user's own is: beside the script, above it, or here."""
    folders = [Path(folder) for folder in target.folders]
    for folder in dict.fromkeys([*folders, *(each.parent for each in folders), Path.cwd()]):
        for place in (folder / top, folder / f"{top}.py"):
            if place.is_file() or (place.is_dir() and any(place.glob("*.py"))):
                yield place


def _imported(line: str, module: str) -> str:
    """Return all of what a line imports, of which Python names what it does not find."""
    if found := IMPORT.match(line):
        whole = found[3] or f"{found[1]}.{found[2]}"
        if f"{whole}.".startswith(f"{module}."):
            return whole
    return module


def _distribution(module: str) -> str:
    parts = module.split(".")
    for prefix, words in NAMESPACES.items():
        if module.startswith(prefix):
            return "-".join(parts[: prefix.count(".") + words])
    names = [".".join(parts[:number]) for number in range(len(parts), 0, -1)]
    return next((DISTRIBUTIONS[name] for name in names if name in DISTRIBUTIONS), parts[0])


def _install(distribution: str) -> str:
    """Return the command that installs something beside us."""
    parts = PurePath(sys.prefix).parts
    if "pipx" in parts:
        return f"pipx inject hfhooks {distribution}"
    if "uv" in parts and "tools" in parts:
        return f"uv tool install hfhooks --with {distribution}"
    if "uv" in parts:
        return f"uvx --with {distribution} hfhooks"
    return f"pip install {distribution}"
