"""JSON as senders write it: what some parsers refuse of it is put right for all of them, and what
would become too large in memory is known before.
"""

import re
from codecs import BOM_UTF8
from typing import Any

__all__ = ["MOST_DEPTH", "MOST_PARTS", "count_parts", "is_too_deep", "mended"]

MOST_PARTS = 200_000
"""Parts of a text; the Hub's largest event has 90,000. Each takes many times its bytes in memory,
and nobody else is served while they are read."""
MOST_DEPTH = 64
"""Objects and arrays that are in one another."""

HALF = re.compile(rb"\\u[dD][89a-fA-F]")
# A pair is a high half with a low one behind it.
LONE = re.compile(
    rb"\\u[dD][89aAbB][\da-fA-F]{2}(?!\\u[dD][c-fC-F][\da-fA-F]{2})|"
    rb"(?<!\\u[dD][89aAbB][\da-fA-F]{2})\\u[dD][c-fC-F][\da-fA-F]{2}"
)
BACKSLASH, STAND_IN = rb"\\", b"\0"
"""An escaped backslash begins no escape, whatever follows it; what stands in for it is no JSON."""
REPLACEMENT = rb"\\ufffd"


def count_parts(text: bytes) -> int:
    """Return how many values and keys a text may have; it is not parsed for that."""
    return sum(map(text.count, (b"{", b"[", b",", b":")))


def is_too_deep(text: bytes, value: Any) -> bool:
    """Tell whether there are too many objects and arrays in one another in what a text means."""
    if text.count(b"{") + text.count(b"[") <= MOST_DEPTH:
        return False
    level, depth = [value], 0
    while level and depth <= MOST_DEPTH:
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [each for many in inner for each in many if isinstance(each, dict | list)]
        depth += 1
    return depth > MOST_DEPTH


def mended(text: bytes) -> bytes:
    r"""Return a text without a byte order mark, and with U+FFFD for half a surrogate pair.

    JavaScript writes one where it has cut an emoji in two; it is JSON, but no Unicode.

    >>> mended(rb'"a cat \ud83d, a dog \ud83d\udc15"')
    b'"a cat \\ufffd, a dog \\ud83d\\udc15"'
    """
    text = text.removeprefix(BOM_UTF8)
    if b"\\" not in text or not HALF.search(text) or STAND_IN in text:
        return text
    # No call for each escape: of those there may be millions.
    text = LONE.sub(REPLACEMENT, text.replace(BACKSLASH, STAND_IN))
    return text.replace(STAND_IN, BACKSLASH)
