"""The guards around the tests really guard."""

import os
import socket
import time
from pathlib import Path

import pytest

from hfhooks.private import state_folder


def test_there_is_no_network() -> None:
    for address in (("192.0.2.1", 80), ("huggingface.co", 443)):
        with socket.socket() as sock, pytest.raises(AssertionError, match="no network"):
            sock.connect(address)


def test_nobody_sleeps() -> None:
    with pytest.raises(AssertionError, match="wait_until"):
        time.sleep(0.001)


def test_there_is_no_home_of_a_person(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    assert Path.home().is_relative_to(base) and state_folder().is_relative_to(base)
    assert "WEBHOOK_SECRET" not in os.environ and "HF_TOKEN" not in os.environ
