"""A scripted server for the tests of the client."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.chat_server import ChatServer, running  # noqa: E402


@pytest.fixture
def server():
    with running(ChatServer()) as up:
        yield up
