"""The guards around the tests really guard."""

import asyncio
import os
import socket
import threading
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


async def test_nobody_sleeps_in_an_event_loop() -> None:
    await asyncio.sleep(0)
    with pytest.raises(AssertionError, match="use until"):
        await asyncio.sleep(0.001)


def test_nobody_waits_for_what_does_not_happen() -> None:
    event = threading.Event()
    with pytest.raises(AssertionError, match="wait_until"):
        event.wait(0.001)
    event.set()
    assert event.wait(0.001)


def test_there_is_no_home_of_a_person(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    assert Path.home().is_relative_to(base) and state_folder().is_relative_to(base)
    assert "WEBHOOK_SECRET" not in os.environ and "HF_TOKEN" not in os.environ
