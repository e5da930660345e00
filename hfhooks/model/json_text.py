"""JSON as senders write it: what some parsers refuse of it is put right for all of them."""

import re
from codecs import BOM_UTF8

__all__ = ["mended"]

HALF = re.compile(rb"\\u[dD][89a-fA-F]")
# Each escape in turn, so that a backslash which is escaped itself begins none.
ESCAPE = re.compile(
    rb"\\(?:u[dD][89aAbB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|"
    rb"(u[dD][89a-fA-F][\da-fA-F]{2})|.)",
    re.DOTALL,
)
REPLACEMENT = rb"\ufffd"


def mended(text: bytes) -> bytes:
    r"""Return a text without a byte order mark, and with U+FFFD for half a surrogate pair.

    JavaScript writes one where it has cut an emoji in two; it is JSON, but no Unicode.

    >>> mended(rb'"a cat \ud83d, a dog \ud83d\udc15"')
    b'"a cat \\ufffd, a dog \\ud83d\\udc15"'
    """
    text = text.removeprefix(BOM_UTF8)
    if b"\\" not in text or not HALF.search(text):
        return text
    return ESCAPE.sub(lambda found: REPLACEMENT if found[1] else found[0], text)
