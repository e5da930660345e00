from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfhooks.model import values

HOSTILE = [*"\n\r\t\x00\x1b\x7f\x9b\u202e\u2066\u200b\u2028\ud800 \\'\"`$();&|<>{}#?"]
"""What steers a terminal or a shell, or hides what a text says."""
PORT = values.whole("a port", most=65535)
SECONDS = values.number("a number of seconds")
DAYS = values.number("a number of days", above=0)
TUNNEL = values.one_of("auto", "none")


@pytest.mark.parametrize(
    ("read", "value", "meant"),
    [
        (PORT, 7860, 7860),
        (PORT, " 7860 ", 7860),
        (PORT, "+5", 5),
        (PORT, 5.0, 5),
        (PORT, "1e3", 1000),
        (PORT, 65535, 65535),
        (SECONDS, 0, 0.0),
        (SECONDS, ".5", 0.5),
        (DAYS, 1e-9, 1e-9),
        (values.size, 65536, 65536),
        (values.size, "65536", 65536),
        (values.size, "1MiB", 1 << 20),
        (values.size, "10MB", 10_000_000),
        (values.size, " 1.5 kib ", 1536),
        (values.size, "64MiB", 1 << 26),
        (values.size, 1e3, 1000),
        (values.size, "1e3", 1000),
        (values.switch, True, True),
        (values.switch, "False", False),
        (values.switch, " on ", True),
        (values.switch, 0, False),
        (values.text, "", ""),
        (values.path, "a", Path("a")),
        (values.path, Path("a"), Path("a")),
        (values.list_of(values.path), ["a"], [Path("a")]),
        (values.list_of(values.path), '["a", "b"]', [Path("a"), Path("b")]),
        (TUNNEL, "none", "none"),
        (values.domain, "a.ngrok-free.dev", "a.ngrok-free.dev"),
        (values.public_url, "https://a.test:8443/b/", "https://a.test:8443/b"),
        (values.public_url, "http://[::1]:7860/a_b~c/%20", "http://[::1]:7860/a_b~c/%20"),
        (values.public_url, "HTTPS://b\xfccher.test/x", "HTTPS://xn--bcher-kva.test/x"),
    ],
)
def test_what_is_meant(read: Callable[[Any], Any], value: object, meant: object) -> None:
    found = read(value)
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("read", "wrong", "why"),
    [
        (PORT, ["x", "", "_1", "1__0", "0x10", None, True, [1], 10**400], "a port is a number"),
        (PORT, ["1.5", 0.1], "a port is a whole number"),
        (PORT, [65536, "1e6"], "a port is at most 65535"),
        (PORT, [-1, "-1"], "a port is at least 0"),
        (SECONDS, [float("inf"), float("nan"), "inf", "1e999"], "a number of seconds is a number"),
        (DAYS, [0, "0.0", -1], "a number of days is more than 0"),
        (values.size, ["x", "10 apples", "inf", True, None, "1 2"], "a size such as "),
        (values.size, [0, "0", -1, "1TiB", "64.1MiB", 0.5], "a size from 1 byte to 64MiB is"),
        (values.switch, ["maybe", 2, None, "null"], "true or false is needed"),
        (values.text, [1, None], "text is needed"),
        (values.path, [1, None, ""], "a path is needed"),
        (values.path, ["~nobody-has-this-name/x"], "Could not determine home directory"),
        (
            values.public_url,
            [f"https://a.test/{'a' * 512}", "https://a.test/\xfc"],
            "a URL such as",
        ),
        (
            values.public_url,
            ["https://" + "\xfc" * 70 + ".test"],
            "a URL is needed whose host is a name",
        ),
        (values.list_of(values.path), ["a", "null", "{}", 1, None], "a JSON list is needed"),
        (values.list_of(values.path), [[1], "[1]"], "a path is needed"),
        (TUNNEL, ["x", "", None, 1], "one of auto, none is needed"),
        (
            values.public_url,
            [f"https://a{each}.test" for each in HOSTILE] + [f"https://a/{e}" for e in HOSTILE],
            "a URL such as ",
        ),
        (values.domain, [f"a{each}.dev" for each in HOSTILE] + ["a.dev\n"], "a name such as "),
        (values.domain, ["https://a.dev", "a", "a.dev/x", ""], "a name such as "),
        (
            values.public_url,
            ["a.test", "ftp://a.test", "https://", "https://[", "https://a.test:x", "http://a?b"],
            "a URL such as ",
        ),
    ],
)
def test_what_is_wrong_is_said(read: Callable[[Any], Any], wrong: list[object], why: str) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{why}"):
            read(value)
