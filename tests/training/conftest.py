"""Puts the toy, which tests and the processes they start share, on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
