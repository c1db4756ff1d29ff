"""Puts the toy on the path. Tests and the processes that they start share the toy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
