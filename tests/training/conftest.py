"""Puts the toy on the path, which tests and the processes that they start share; a fixture."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def sigint_is_as_in_a_terminal():
    """A shell's background job ignores SIGINT; a test that sends the signal needs it to arrive."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
