import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfhooks.model.json_text import mended


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (rb'"plain"', rb'"plain"'),
        (b'\xef\xbb\xbf{"a": 1}', b'{"a": 1}'),
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDC15 and \uD83D"', rb'"\ufffd and \ufffd"'),
        (rb'"\ud83d\udc15"', rb'"\ud83d\udc15"'),
        (rb'"\ud83d\ud83d\udc15"', rb'"\ufffd\ud83d\udc15"'),
        (rb'"\udc15\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\ud83d\n\"\udc15"', rb'"\ufffd\n\"\ufffd"'),
        (rb'"\ud83', rb'"\ud83'),
        (rb'"\\\\ud83d\\\ud83d\\\\\ud83d\udc15"', rb'"\\\\ud83d\\\ufffd\\\\\ud83d\udc15"'),
        (rb'"\\ud83d\udc15"', rb'"\\ud83d\ufffd"'),
        (b'"\\ud83d\0"', b'"\\ud83d\0"'),
        (rb'"\ud83d\udc1"', rb'"\ufffd\udc1"'),
        ("\ufeff".encode("utf-16"), "\ufeff".encode("utf-16")),
        (b"", b""),
    ],
)
def test_what_is_mended(text: bytes, meant: bytes) -> None:
    assert mended(text) == meant


def test_what_needs_no_mending_is_no_copy() -> None:
    text = rb'{"emoji": "\ud83d", "rest": "%b"}'.replace(rb"\ud83d", b"") % bytes(100)
    assert mended(text) is text


@given(st.text(st.characters(codec=None, categories=("Cs", "Lu", "Po"))))
def test_it_means_what_python_reads_with_each_half_replaced(text: str) -> None:
    encoded = json.dumps(text).encode()
    # Python joins halves that stand beside each other, as every parser does.
    whole = json.loads(encoded).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(mended(encoded)) == whole
